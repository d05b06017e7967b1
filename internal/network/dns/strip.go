package dns

import (
	"net"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// strip takes out of an upstream answer what a container must not be told:
// addresses that are not global, also as hints of SVCB and HTTPS records (RFC
// 9460, section 7.3), records of other classes, and the additional section,
// which stub resolvers do not need; and aliases that lead to a name of the
// containers or of the home network, as a resolver inside would follow them. It returns how many records it took from the
// answer or changed there.
func strip(m *dns.Msg, domain string) int {
	taken := 0
	private := make(map[uint16]bool) // types whose signatures no longer hold
	m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool {
		keep, whole := clean(rr, domain)
		if !keep || !whole {
			taken++
			private[rr.Header().Rrtype] = true
		}
		return !keep
	})
	if taken > 0 {
		m.AuthenticatedData = false
		m.Answer = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool {
			sig, ok := rr.(*dns.RRSIG)
			return ok && private[sig.TypeCovered]
		})
	}
	m.Ns = slices.DeleteFunc(m.Ns, func(rr dns.RR) bool {
		keep, whole := clean(rr, domain)
		return !keep || !whole
	})
	m.Extra = nil
	return taken
}

// clean says whether a record may stay, and whether it stayed whole.
func clean(rr dns.RR, domain string) (keep, whole bool) {
	if rr == nil || rr.Header().Class != dns.ClassINET {
		return false, false
	}
	switch rr := rr.(type) {
	case *dns.A:
		keep = globalIP(rr.A, 4)
		return keep, keep
	case *dns.AAAA:
		keep = globalIP(rr.AAAA, 6)
		return keep, keep
	case *dns.CNAME:
		keep = outside(rr.Target, domain)
		return keep, keep
	case *dns.DNAME:
		keep = outside(rr.Target, domain)
		return keep, keep
	case *dns.SVCB:
		keep = rr.Target == "." || outside(rr.Target, domain)
		return keep, cleanHints(rr) && keep
	case *dns.HTTPS:
		keep = rr.Target == "." || outside(rr.Target, domain)
		return keep, cleanHints(&rr.SVCB) && keep
	case *dns.RFC3597: // a type that is known must not come through as an unknown one
		t := rr.Header().Rrtype
		keep = t != dns.TypeA && t != dns.TypeAAAA && t != dns.TypeSVCB && t != dns.TypeHTTPS
		return keep, keep
	case *dns.APL, *dns.L32, *dns.L64, *dns.OPT: // addresses in other clothes, or out of place
		return false, false
	}
	return true, true
}

// outside says whether a name is one that only the servers upstream know.
func outside(name, domain string) bool {
	c := classify(name, dns.TypeA, domain).class
	return c == forward || c == either
}

// cleanHints drops private address hints, and the parameter where none is left.
func cleanHints(s *dns.SVCB) (whole bool) {
	whole = true
	filter := func(ips []net.IP, family int) []net.IP {
		kept := slices.DeleteFunc(ips, func(ip net.IP) bool { return !globalIP(ip, family) })
		whole = whole && len(kept) == len(ips)
		return kept
	}
	gone := make(map[dns.SVCBKey]bool)
	s.Value = slices.DeleteFunc(s.Value, func(kv dns.SVCBKeyValue) bool {
		left := 1
		switch kv := kv.(type) {
		case *dns.SVCBIPv4Hint:
			kv.Hint = filter(kv.Hint, 4)
			left = len(kv.Hint)
		case *dns.SVCBIPv6Hint:
			kv.Hint = filter(kv.Hint, 6)
			left = len(kv.Hint)
		case *dns.SVCBLocal:
			if kv.Key() == dns.SVCB_IPV4HINT || kv.Key() == dns.SVCB_IPV6HINT {
				left, whole = 0, false
			}
		}
		if left == 0 {
			gone[kv.Key()] = true
		}
		return left == 0
	})
	for _, kv := range s.Value { // a mandatory parameter that is not there makes the record void
		if m, ok := kv.(*dns.SVCBMandatory); ok {
			m.Code = slices.DeleteFunc(m.Code, func(k dns.SVCBKey) bool { return gone[k] })
		}
	}
	s.Value = slices.DeleteFunc(s.Value, func(kv dns.SVCBKeyValue) bool {
		m, ok := kv.(*dns.SVCBMandatory)
		return ok && len(m.Code) == 0
	})
	return whole
}

func globalIP(ip net.IP, family int) bool {
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return false
	}
	if family == 4 {
		a = a.Unmap() // the library keeps IPv4 addresses in 16 bytes
		return a.Is4() && global(a)
	}
	return global(a)
}
