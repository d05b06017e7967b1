package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var (
	clientAddr = netip.MustParseAddr("10.7.0.9")
	gateway    = []netip.Addr{netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("fd07::1")}
)

// records are two containers, ff and build, of which strangers see nothing; and
// one that stole a reserved name.
type records struct{}

func (records) Addresses(client netip.Addr, label string) ([]netip.Addr, bool) {
	if client != clientAddr {
		return nil, false
	}
	switch label {
	case "ff", "wpad", "localhost":
		return []netip.Addr{clientAddr, netip.MustParseAddr("fd07::9")}, true
	case "build":
		return []netip.Addr{netip.MustParseAddr("10.7.0.10")}, true
	}
	return nil, false
}

func (records) Name(client, a netip.Addr) (string, bool) {
	return "ff", client == clientAddr && (a == clientAddr || a == netip.MustParseAddr("fd07::9"))
}

// A canned connection answers each question with the same bytes, id and question
// made to fit.
type canned struct {
	net.Conn // unused
	answer   []byte
	tcp      bool
	out      []byte
}

func (c *canned) Write(p []byte) (int, error) {
	q := p
	if c.tcp {
		q = p[2:]
	}
	out := append([]byte(nil), c.answer...)
	copy(out, q[:min(2, len(q))])
	if c.tcp {
		out = append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...)
	}
	c.out = out
	return len(p), nil
}

func (c *canned) Read(p []byte) (int, error) {
	if len(c.out) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	if !c.tcp { // a datagram is read or lost
		c.out = nil
	}
	return n, nil
}
func (c *canned) Close() error                { return nil }
func (c *canned) SetDeadline(time.Time) error { return nil }

func cannedServer(answer []byte) *Server {
	return New(Config{
		Domain: "hutch", Gateway: gateway, Records: records{},
		Upstreams: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("23.45.60.53:53")} },
		Dial: func(_ context.Context, network string, _ netip.AddrPort) (net.Conn, error) {
			return &canned{answer: answer, tcp: network == "tcp"}, nil
		},
	})
}

// whole answers a packet as the UDP loop does; nil is silence.
func (s *Server) whole(t testing.TB, client netip.Addr, packet []byte) (q *dns.Msg, answer []byte) {
	t.Helper()
	q, ok := read(packet)
	if !ok {
		return nil, nil
	}
	m := s.here(client, q, time.Now())
	if m == nil {
		m = s.away(context.Background(), client, q)
	}
	answer, err := pack(m, q, udpLimit(q))
	if err != nil {
		return q, nil
	}
	return q, answer
}

// own says which private addresses the server may itself speak of.
func ownAddress(a netip.Addr) bool {
	a = a.Unmap()
	return a == gateway[0] || a == gateway[1] || a.IsLoopback() || netip.MustParsePrefix("10.7.0.0/24").Contains(a) || a == netip.MustParseAddr("fd07::9")
}

func FuzzHandler(f *testing.F) {
	query := func(name string, qtype uint16, edns bool) []byte {
		q := new(dns.Msg)
		q.SetQuestion(name, qtype)
		if edns {
			q.SetEdns0(4096, true)
		}
		p, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		return p
	}
	answer := func(rrs ...string) []byte {
		p, err := message(f, rrs...).Pack()
		if err != nil {
			f.Fatal(err)
		}
		return p
	}
	f.Add(query("evil.example.", dns.TypeA, true), answer("evil.example. 60 IN A 192.168.1.1", "evil.example. 60 IN AAAA ::1", "evil.example. 1 IN A 8.8.8.8"))
	f.Add(query("evil.example.", dns.TypeA, false), answer("evil.example. 60 IN CNAME a.lan.", `evil.example. 60 IN HTTPS 1 . ipv4hint="10.0.0.1"`))
	f.Add(query("evil.example.", dns.TypeA, false), answer(`evil.example. 60 IN TYPE1 \# 4 0a000001`, "evil.example. 60 IN L32 10 10.0.0.1"))
	f.Add(query("ff.hutch.", dns.TypeAAAA, true), []byte{})
	f.Add(query("9.0.7.10.in-addr.arpa.", dns.TypePTR, true), []byte{})
	f.Add(query("evil.example.", dns.TypeA, true), []byte{0, 0, 0x82, 0, 0, 0})
	f.Fuzz(func(t *testing.T, packet, canned []byte) {
		s := cannedServer(canned)
		for range 2 { // the second may come from the cache
			q, answer := s.whole(t, clientAddr, packet)
			if answer == nil {
				return
			}
			if len(answer) > udpLimit(q) || len(answer) > udpSize {
				t.Fatalf("%d bytes, at most %d are wanted", len(answer), udpLimit(q))
			}
			m := new(dns.Msg)
			if err := m.Unpack(answer); err != nil {
				t.Fatalf("answer cannot be read: %v", err)
			}
			if m.Id != q.Id || !m.Response {
				t.Fatalf("not an answer to the question: %s", m)
			}
			for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
				for _, rr := range section {
					for _, ip := range addressesIn(rr) {
						a, _ := netip.AddrFromSlice(ip)
						if !global(a.Unmap()) && !(m.Authoritative && ownAddress(a)) {
							t.Fatalf("told %s", rr)
						}
					}
				}
			}
		}
	})
}

func addressesIn(rr dns.RR) []net.IP {
	var svcb *dns.SVCB
	switch rr := rr.(type) {
	case *dns.A:
		return []net.IP{rr.A}
	case *dns.AAAA:
		return []net.IP{rr.AAAA}
	case *dns.SVCB:
		svcb = rr
	case *dns.HTTPS:
		svcb = &rr.SVCB
	default:
		return nil
	}
	var found []net.IP
	for _, kv := range svcb.Value {
		switch kv := kv.(type) {
		case *dns.SVCBIPv4Hint:
			found = append(found, kv.Hint...)
		case *dns.SVCBIPv6Hint:
			found = append(found, kv.Hint...)
		}
	}
	return found
}

// FuzzStrip looks at the same through TCP-sized answers and their own parser.
func FuzzStrip(f *testing.F) {
	for _, rr := range []string{"evil.example. 60 IN A 10.0.0.1", `evil.example. 60 IN HTTPS 1 . ipv6hint="fd00::1,fe80::1"`, "evil.example. 60 IN AAAA 64:ff9b::a00:1"} {
		p, err := message(f, rr).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		m := new(dns.Msg)
		if m.Unpack(packet) != nil {
			return
		}
		strip(m, "hutch")
		again, err := m.Pack()
		if err != nil {
			return
		}
		m = new(dns.Msg)
		if m.Unpack(again) != nil {
			return
		}
		for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
			for _, rr := range section {
				for _, ip := range addressesIn(rr) {
					if a, _ := netip.AddrFromSlice(ip); !global(a.Unmap()) {
						t.Fatalf("left %s", rr)
					}
				}
			}
		}
	})
}
