package dns

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	ownTTL   = 5    // seconds: records change whenever a container comes or goes
	maxQuery = 1232 // bytes; real questions take under 300
)

// Records are the names that containers have, as each of them may see them.
type Records interface {
	// Addresses returns the addresses of the container with that name (one
	// label, lower case), and whether the client may see such a container.
	Addresses(client netip.Addr, label string) ([]netip.Addr, bool)
	// Name returns the name (one label) of the container with that address.
	Name(client, address netip.Addr) (label string, ok bool)
}

// A Config is what a Server is made of.
type Config struct {
	Domain    string       // of containers' names: "hutch"
	Gateway   []netip.Addr // what gateway.DOMAIN is
	Records   Records
	Upstreams func() []netip.AddrPort // the host's servers now, the first before the others
	Dial      Dial
	Log       *slog.Logger // nil for none
}

// A Server answers questions. It may serve any number of sockets.
type Server struct {
	Config
	cache    *cache
	upstream *upstream
	asking   *gauge // questions that wait for an answer from upstream
	talking  *gauge // TCP connections
}

// New returns a server that does nothing until Serve is called.
func New(c Config) *Server {
	c.Domain = strings.ToLower(strings.Trim(c.Domain, "."))
	c.Domain = cmp.Or(c.Domain, "hutch")
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		Config:   c,
		cache:    newCache(),
		upstream: &upstream{servers: c.Upstreams, dial: c.Dial},
		asking:   newGauge(64, 512),
		talking:  newGauge(8, 128),
	}
}

// read returns the question in a packet. A packet that is no question of DNS is
// dropped without a word.
func read(packet []byte) (*dns.Msg, bool) {
	if len(packet) > maxQuery {
		return nil, false
	}
	q := new(dns.Msg)
	if err := q.Unpack(packet); err != nil || q.Response {
		return nil, false
	}
	return q, true
}

// here answers what can be answered at once: refusals, own names, the cache. It
// returns nil where the servers upstream have to be asked.
func (s *Server) here(client netip.Addr, q *dns.Msg, now time.Time) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	opt := q.IsEdns0()
	switch {
	case q.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
		return m
	case len(q.Question) != 1 || len(q.Answer) != 0 || len(q.Ns) != 0:
		m.Rcode = dns.RcodeFormatError
		return m
	case opt != nil && opt.Version() != 0:
		m.Rcode = dns.RcodeBadVers
		return m
	case q.Question[0].Qclass != dns.ClassINET:
		m.Rcode = dns.RcodeRefused
		return m
	case q.Question[0].Qtype == dns.TypeANY: // RFC 8482 lets a server not answer it
		m.Rcode = dns.RcodeNotImplemented
		return m
	case meta(q.Question[0].Qtype):
		m.Rcode = dns.RcodeRefused
		return m
	}
	name, qtype := q.Question[0].Name, q.Question[0].Qtype
	switch v := classify(name, qtype, s.Domain); v.class {
	case denied:
		m.Rcode = dns.RcodeNameError
	case empty:
	case loopback: // RFC 6761, section 6.3
		s.addresses(m, []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()})
	case own:
		s.own(m, client, v.label)
	case reverse, either:
		if !s.pointer(m, client, v.addr) {
			if v.class == either {
				return s.cached(client, q, now)
			}
			m.Rcode = dns.RcodeNameError
		}
	case forward:
		return s.cached(client, q, now)
	}
	return m
}

// meta says whether a type is for transfers and the like, not for data (RFC
// 6895, section 3.1).
func meta(t uint16) bool {
	return t == dns.TypeNone || t == dns.TypeOPT || t >= 128 && t < 256
}

func (s *Server) cached(client netip.Addr, q *dns.Msg, now time.Time) *dns.Msg {
	if m := s.cache.get(keyOf(client, q), now); m != nil {
		return dress(m, q)
	}
	return nil
}

func (s *Server) own(m *dns.Msg, client netip.Addr, label string) {
	switch {
	case label == "": // the domain itself exists and has nothing
	case slices.Contains(gatewayLabels, label):
		s.addresses(m, s.Gateway)
		return
	case Reserved(label):
		m.Rcode = dns.RcodeNameError
	default:
		found, ok := s.Records.Addresses(client, label)
		if ok {
			s.addresses(m, found)
			return
		}
		m.Rcode = dns.RcodeNameError
	}
	s.authority(m)
}

// addresses adds those of the family that is asked for.
func (s *Server) addresses(m *dns.Msg, found []netip.Addr) {
	q := m.Question[0]
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ownTTL}
	m.Authoritative = true
	for _, a := range found {
		switch {
		case a.Is4() && q.Qtype == dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: header, A: a.AsSlice()})
		case a.Is6() && q.Qtype == dns.TypeAAAA:
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: a.WithZone("").AsSlice()})
		}
	}
	if len(m.Answer) == 0 {
		s.authority(m)
	}
}

// pointer answers for an address of the router's or of a container's that the
// client may see, and says whether it is one.
func (s *Server) pointer(m *dns.Msg, client, address netip.Addr) bool {
	if !address.IsValid() {
		return false
	}
	label, ok := gatewayLabels[0], slices.Contains(s.Gateway, address)
	if !ok {
		label, ok = s.Records.Name(client, address)
	}
	if !ok {
		return false
	}
	m.Authoritative = true
	if q := m.Question[0]; q.Qtype == dns.TypePTR {
		header := dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ownTTL}
		m.Answer = append(m.Answer, &dns.PTR{Hdr: header, Ptr: label + "." + s.Domain + "."})
	}
	return true
}

// authority tells for how long a no may be kept (RFC 2308, section 3).
func (s *Server) authority(m *dns.Msg) {
	m.Authoritative = true
	m.Ns = []dns.RR{&dns.SOA{
		Hdr:    dns.RR_Header{Name: s.Domain + ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ownTTL},
		Ns:     "gateway." + s.Domain + ".",
		Mbox:   "root.gateway." + s.Domain + ".",
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ownTTL,
	}}
}

// away asks the servers upstream.
func (s *Server) away(ctx context.Context, client netip.Addr, q *dns.Msg) *dns.Msg {
	if !s.asking.enter(client) {
		return failure(q)
	}
	defer s.asking.leave(client)

	question := new(dns.Msg)
	question.Question = []dns.Question{q.Question[0]} // in the client's spelling (0x20)
	question.RecursionDesired = true
	question.CheckingDisabled = q.CheckingDisabled
	question.AuthenticatedData = q.AuthenticatedData
	// The client's own EDNS options stay here: cookies are between two hosts, and
	// a client subnet would tell of the network behind the router.
	question.SetEdns0(udpSize, dnssec(q))

	m, err := s.upstream.ask(ctx, question)
	if err != nil {
		s.Log.Info("dns: no answer", "client", client, "name", q.Question[0].Name, "err", err)
		return failure(q)
	}
	if m.Rcode > 15 { // extended ones are between the server and us
		return failure(q)
	}
	if n := strip(m, s.Domain); n > 0 {
		s.Log.Info("dns: answer stripped of private addresses", "client", client, "name", q.Question[0].Name, "records", n)
	}
	m.Question = []dns.Question{q.Question[0]}
	s.cache.put(keyOf(client, q), m, time.Now())
	return dress(m, q)
}

func failure(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Rcode = dns.RcodeServerFailure
	return m
}

func keyOf(client netip.Addr, q *dns.Msg) key {
	return key{client, strings.ToLower(q.Question[0].Name), q.Question[0].Qtype, dnssec(q), q.CheckingDisabled}
}

func dnssec(q *dns.Msg) bool {
	opt := q.IsEdns0()
	return opt != nil && opt.Do()
}

// dress makes an answer from upstream or from the cache one to this very
// question, in its spelling.
func dress(m, q *dns.Msg) *dns.Msg {
	r := new(dns.Msg)
	r.SetReply(q)
	r.RecursionAvailable = true
	r.Rcode = m.Rcode
	r.AuthenticatedData = m.AuthenticatedData && (q.AuthenticatedData || dnssec(q))
	r.Answer, r.Ns = m.Answer, m.Ns
	for _, rr := range r.Answer {
		if h := rr.Header(); strings.EqualFold(h.Name, q.Question[0].Name) {
			h.Name = q.Question[0].Name
		}
	}
	return r
}

// pack makes the packet of an answer, of at most size bytes.
func pack(m, q *dns.Msg, size int) ([]byte, error) {
	if q.IsEdns0() != nil {
		m.SetEdns0(udpSize, dnssec(q))
	}
	m.Compress = true
	m.Truncate(size)
	packet, err := m.Pack()
	if err == nil && len(packet) <= size {
		return packet, nil
	}
	m = failure(q)
	packet, err = m.Pack()
	if err == nil && len(packet) > size {
		err = errors.New("a question too long for its answer")
	}
	return packet, err
}

// udpLimit is how long an answer to q by UDP may be, in bytes.
func udpLimit(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), udpSize)
	}
	return dns.MinMsgSize
}

// clientOf is the address a packet came from.
func clientOf(a net.Addr) (netip.Addr, bool) {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return ap.Addr().Unmap().WithZone(""), ap.IsValid()
}
