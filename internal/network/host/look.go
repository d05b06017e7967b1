package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
)

// Look reads the host's links, addresses and routes, of all tables.
func Look() (network.Host, error) {
	for range 10 { // a dump is interrupted when the tables change under it
		h, err := look()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return h, err
		}
	}
	return network.Host{}, errors.New("the host's routes change too fast to be read")
}

func look() (network.Host, error) {
	h := network.Host{MTU: map[string]int{}}
	links, err := netlink.LinkList()
	if err != nil {
		return h, fmt.Errorf("read the host's links: %w", err)
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
		h.MTU[l.Attrs().Name] = l.Attrs().MTU
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return h, fmt.Errorf("read the host's addresses: %w", err)
	}
	for _, a := range addresses {
		for _, n := range []*net.IPNet{a.IPNet, a.Peer} {
			if p, ok := prefix(n); ok {
				h.Addresses = append(h.Addresses, network.HostAddress{Interface: names[a.LinkIndex], Prefix: p})
			}
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return h, fmt.Errorf("read the host's routes: %w", err)
		}
		for _, r := range routes {
			h.Routes = append(h.Routes, route(family, r, names))
		}
	}
	return h, nil
}

func route(family int, r netlink.Route, names map[int]string) network.Route {
	to := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if family == netlink.FAMILY_V4 {
		to = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if p, ok := prefix(r.Dst); ok {
		to = p.Masked()
	}
	kind := network.Forwarded
	switch r.Type {
	case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST:
		kind = network.Delivered
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		kind = network.Refused
	}
	hops := []network.Hop{{Interface: names[r.LinkIndex], Gateway: gateway(r.Gw, r.Via)}}
	if len(r.MultiPath) > 0 {
		hops = nil
		for _, m := range r.MultiPath {
			hops = append(hops, network.Hop{Interface: names[m.LinkIndex], Gateway: gateway(m.Gw, m.Via)})
		}
	}
	return network.Route{Destination: to, Kind: kind, Hops: hops}
}

func gateway(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok {
		gw = v.Addr
	}
	a, _ := netip.AddrFromSlice(gw)
	return a.Unmap()
}

// prefix converts a network; the IPv4 ones of the library may stand in 16 bytes.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	ones, bits := n.Mask.Size()
	if a = a.Unmap(); a.Is4() && bits == 128 {
		ones -= 96
	}
	p := netip.PrefixFrom(a, ones)
	return p, p.IsValid()
}
