package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	tryTime   = 1500 * time.Millisecond // one server, one try
	totalTime = 4 * time.Second         // glibc asks again after five (resolv.conf(5))
	shortTime = 500 * time.Millisecond  // the same, where it was silent lately
	deadTime  = 15 * time.Second        // a silent server is asked last for so long

	udpSize = 1232 // bytes that pass everywhere unfragmented (DNS Flag Day 2020)
)

// errNoAnswer says that no server upstream answered.
var errNoAnswer = errors.New("no server answered")

// A Dial connects to a server upstream ("udp" or "tcp"), in the network
// namespace that the servers are reached from.
type Dial func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error)

// An upstream asks the host's servers, those that answered last first.
type upstream struct {
	servers func() []netip.AddrPort
	dial    Dial

	mu   sync.Mutex
	dead map[netip.AddrPort]time.Time
}

// ask returns the first useful answer. A server that is silent, or does not want
// to answer, gives way to the next; so does one that fails, unless it is the
// host's own resolver, whose failure may be a verdict (DNSSEC).
func (u *upstream) ask(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	servers := u.order(time.Now())
	if len(servers) == 0 {
		return nil, errors.New("the host has no name server")
	}
	err := errNoAnswer
	var failed *dns.Msg
	for range 2 {
		for _, server := range servers {
			if ctx.Err() != nil {
				return nil, err
			}
			m, askErr := u.exchange(ctx, server, q)
			u.mark(server, askErr != nil && ctx.Err() == nil)
			if askErr != nil {
				err = fmt.Errorf("%s: %w", server, askErr)
				continue
			}
			switch m.Rcode {
			case dns.RcodeSuccess, dns.RcodeNameError:
				return m, nil
			case dns.RcodeServerFailure:
				if server.Addr().IsLoopback() {
					return m, nil
				}
			}
			failed = m
		}
		if failed != nil {
			return failed, nil
		}
	}
	return nil, err
}

// order puts servers that were silent lately at the end.
func (u *upstream) order(now time.Time) []netip.AddrPort {
	servers := slices.Clone(u.servers())
	u.mu.Lock()
	defer u.mu.Unlock()
	for s, since := range u.dead {
		if age := now.Sub(since); age > deadTime || age < 0 {
			delete(u.dead, s)
		}
	}
	slices.SortStableFunc(servers, func(a, b netip.AddrPort) int {
		_, deadA := u.dead[a]
		_, deadB := u.dead[b]
		switch {
		case deadA == deadB:
			return 0
		case deadA:
			return 1
		}
		return -1
	})
	return servers
}

func (u *upstream) patience(server netip.AddrPort) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, dead := u.dead[server]; dead {
		return shortTime
	}
	return tryTime
}

func (u *upstream) mark(server netip.AddrPort, dead bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !dead {
		delete(u.dead, server)
		return
	}
	if u.dead == nil {
		u.dead = make(map[netip.AddrPort]time.Time)
	}
	u.dead[server] = time.Now()
}

// exchange asks one server once: by UDP, again by TCP where the answer was cut,
// and again without EDNS where the server does not know it (RFC 6891, 6.2.2).
func (u *upstream) exchange(ctx context.Context, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	m, err := u.try(ctx, "udp", server, q)
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) && m.IsEdns0() == nil && q.IsEdns0() != nil {
		plain := q.Copy()
		plain.Extra = nil
		q = plain
		m, err = u.try(ctx, "udp", server, q)
	}
	if err == nil && m.Truncated {
		return u.try(ctx, "tcp", server, q)
	}
	return m, err
}

func (u *upstream) try(ctx context.Context, network string, server netip.AddrPort, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, u.patience(server))
	defer cancel()
	conn, err := u.dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	// Each try has an id and a source port of its own (RFC 5452, section 9).
	sent := q.Copy()
	sent.Id = dns.Id()
	packet, err := sent.Pack()
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		if err := writeFrame(conn, packet); err != nil {
			return nil, err
		}
		packet, err = readFrame(conn, dns.MaxMsgSize)
		if err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		if err := m.Unpack(packet); err != nil {
			return nil, err
		}
		if !answers(m, sent) {
			return nil, errors.New("the answer is to another question")
		}
		return m, nil
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	buffer := make([]byte, 4096)
	for { // until the right answer comes: others may be forged
		n, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		m := new(dns.Msg)
		if err := m.Unpack(buffer[:n]); err != nil {
			// A cut answer may end amid a record; its header says to use TCP.
			if m.Id == sent.Id && m.Response && m.Truncated {
				return m, nil
			}
			continue
		}
		if answers(m, sent) {
			return m, nil
		}
	}
}

// answers says whether m is an answer to q.
func answers(m, q *dns.Msg) bool {
	if m.Id != q.Id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return false
	}
	if len(m.Question) == 0 { // as old servers answer to what they do not understand
		return m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError
	}
	a, b := m.Question[0], q.Question[0]
	return len(m.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
