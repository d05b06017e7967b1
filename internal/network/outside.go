package network

import (
	"net/netip"
	"slices"
)

// A Host is what the host's network stack says of itself.
type Host struct {
	Addresses []HostAddress
	Routes    []Route // of all tables, both families
	MTU       map[string]int
}

// A HostAddress is one address of an interface with the length of its on-link
// network, or, on a point-to-point link, the peer's.
type HostAddress struct {
	Interface string
	Prefix    netip.Prefix
}

// A Route is one route of the host's.
type Route struct {
	Destination netip.Prefix
	Kind        RouteKind
	Hops        []Hop
}

// A RouteKind says what becomes of a packet that takes the route.
type RouteKind int

const (
	Forwarded RouteKind = iota // to a next hop or the link
	Delivered                  // to the host itself
	Refused                    // blackhole, unreachable, prohibit, throw
)

// A Hop is one way of a route. Gateway is invalid where the destination is on the
// link itself.
type Hop struct {
	Interface string
	Gateway   netip.Addr
}

// An Outside is what containers' packets may and may not leave by.
type Outside struct {
	Uplinks4 []string `json:"uplinks4"` // interfaces of the default routes, sorted
	Uplinks6 []string `json:"uplinks6"`
	// Gateways are the next hops of the default routes. An uplink in Direct has a
	// default route without one: a tunnel or a point-to-point line.
	Gateways4 []netip.Addr `json:"gateways4"`
	Gateways6 []netip.Addr `json:"gateways6"`
	Direct4   []string     `json:"direct4"`
	Direct6   []string     `json:"direct6"`
	// Closed is what no container may reach: special-purpose ranges, the host's
	// addresses and on-link networks, and everything that has a route of its own.
	// Without a default route it is all there is.
	Closed4 []Range `json:"closed4"`
	Closed6 []Range `json:"closed6"`
	MTU     int     `json:"mtu"` // bytes, the smallest of the uplinks, at most 1500
}

// Uplinks are the interfaces of the default routes of both families, sorted.
func (o Outside) Uplinks() []string {
	all := append(slices.Clone(o.Uplinks4), o.Uplinks6...)
	slices.Sort(all)
	return slices.Compact(all)
}

// LinkName is the host's end of its link to the router.
const LinkName = "hutch0"

// Look decides what lies outside, from what the host has now.
func Look(h Host) Outside {
	o := Outside{MTU: 1500}
	closed4, closed6 := slices.Clone(special4), slices.Clone(special6)
	shut := func(p netip.Prefix) {
		switch {
		case !p.IsValid() || defaultLike(p):
		case p.Addr().Is4():
			closed4 = append(closed4, p)
		default:
			closed6 = append(closed6, p)
		}
	}
	for _, a := range h.Addresses {
		shut(a.Prefix.Masked())
		shut(netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen()))
	}
	for _, r := range h.Routes {
		if !defaultLike(r.Destination) || r.Kind == Delivered {
			shut(r.Destination)
			continue
		}
		if r.Kind == Refused {
			continue
		}
		for _, hop := range r.Hops {
			if hop.Interface == "" || hop.Interface == LinkName || hop.Interface == "lo" {
				continue
			}
			if mtu := h.MTU[hop.Interface]; mtu >= 1280 {
				o.MTU = min(o.MTU, mtu)
			}
			if hop.Gateway.IsValid() { // it may stand outside the on-link networks
				gateway := hop.Gateway.WithZone("")
				shut(netip.PrefixFrom(gateway, gateway.BitLen()))
			}
			// A route of one family may have a gateway of the other (RFC 9229);
			// the rules then see none.
			if r.Destination.Addr().Is4() {
				o.Uplinks4 = append(o.Uplinks4, hop.Interface)
				if hop.Gateway.Is4() {
					o.Gateways4 = append(o.Gateways4, hop.Gateway)
				} else {
					o.Direct4 = append(o.Direct4, hop.Interface)
				}
			} else {
				o.Uplinks6 = append(o.Uplinks6, hop.Interface)
				if hop.Gateway.Is6() {
					o.Gateways6 = append(o.Gateways6, hop.Gateway.WithZone(""))
				} else {
					o.Direct6 = append(o.Direct6, hop.Interface)
				}
			}
		}
	}
	for _, list := range []*[]string{&o.Uplinks4, &o.Uplinks6, &o.Direct4, &o.Direct6} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	for _, list := range []*[]netip.Addr{&o.Gateways4, &o.Gateways6} {
		slices.SortFunc(*list, netip.Addr.Compare)
		*list = slices.Compact(*list)
	}
	if len(o.Uplinks4) == 0 {
		closed4 = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	}
	if len(o.Uplinks6) == 0 {
		closed6 = []netip.Prefix{netip.MustParsePrefix("::/0")}
	}
	o.Closed4, o.Closed6 = Ranges(closed4), Ranges(closed6)
	return o
}

// Taken lists the networks that a subnet must stay away from: the host's routes
// and addresses, but for those of its link to the router.
func (h Host) Taken() []netip.Prefix {
	var taken []netip.Prefix
	for _, a := range h.Addresses {
		if a.Interface != LinkName {
			taken = append(taken, a.Prefix.Masked())
		}
	}
	for _, r := range h.Routes {
		ours := slices.ContainsFunc(r.Hops, func(hop Hop) bool { return hop.Interface == LinkName })
		if !ours {
			taken = append(taken, r.Destination)
		}
	}
	return taken
}

// defaultLike says whether a route this short is meant for "everything": VPN
// programs override the default route with halves and quarters of it (OpenVPN's
// redirect-gateway def1 and ipv6).
func defaultLike(p netip.Prefix) bool {
	if p.Addr().Is4() {
		return p.Bits() <= 1
	}
	return p.Bits() <= 1 || p.Bits() <= 4 && p.Overlaps(global6)
}

var global6 = netip.MustParsePrefix("2000::/3")

// special4 are the ranges that are not global unicast: IANA's special-purpose
// registry (RFC 6890), multicast (RFC 5771), and 192.88.99.0/24 (RFC 7526).
var special4 = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")

// special6 is everything but 2000::/3, and of that what stands for something
// else: IETF protocols with Teredo (2001::/23), documentation (2001:db8::/32,
// RFC 3849; 3fff::/20, RFC 9637), 6to4 (RFC 3056).
var special6 = prefixes(
	"::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}
