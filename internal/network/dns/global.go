package dns

import "net/netip"

// special4 are the IPv4 ranges that are not globally reachable unicast: the IANA
// IPv4 Special-Purpose Address Registry, multicast and class E.
var special4 = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
	"172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")

// special6 are the parts of 2000::/3 that are not: IETF protocol assignments with
// Teredo and ORCHID, documentation, 6to4 (which embeds any IPv4 address).
var special6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

var (
	unicast6 = netip.MustParsePrefix("2000::/3")
	nat64    = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
)

func prefixes(texts ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		p[i] = netip.MustParsePrefix(t)
	}
	return p
}

// global says whether an address is one that only the Internet can have. An
// IPv4-mapped address never is: it has no business in an AAAA record.
func global(a netip.Addr) bool {
	switch {
	case !a.IsValid() || a.Zone() != "":
		return false
	case a.Is4():
		return !overlaps(special4, netip.PrefixFrom(a, 32))
	case nat64.Contains(a):
		b := a.As16()
		return global(netip.AddrFrom4([4]byte(b[12:])))
	}
	return unicast6.Contains(a) && !overlaps(special6, netip.PrefixFrom(a, 128))
}

// globalPrefix says whether every address of a network is global.
func globalPrefix(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return !overlaps(special4, p)
	}
	return p.Bits() >= unicast6.Bits() && unicast6.Contains(p.Addr()) && !overlaps(special6, p)
}

func overlaps(list []netip.Prefix, p netip.Prefix) bool {
	for _, s := range list {
		if s.Overlaps(p) {
			return true
		}
	}
	return false
}
