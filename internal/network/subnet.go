package network

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Subnets are the on-link networks of the containers' bridge. The first address
// of each is the router's, the last usable one of the IPv4 network and ::fe of the
// IPv6 one are the host's end of its link to the router.
type Subnets struct {
	V4 netip.Prefix `json:"v4"` // /16 to /28
	V6 netip.Prefix `json:"v6"` // /64
}

// Gateway4 is the router's address on the bridge.
func (s Subnets) Gateway4() netip.Addr { return Host4(s.V4, 1) }

// Gateway6 is the router's address on the bridge.
func (s Subnets) Gateway6() netip.Addr { return Host6(s.V6, 1) }

// Link4 is the host's address towards the router.
func (s Subnets) Link4() netip.Addr { return Host4(s.V4, size4(s.V4)-2) }

// Link6 is the host's address towards the router.
func (s Subnets) Link6() netip.Addr { return Host6(s.V6, 0xfe) }

// Check says why the subnets can not be used.
func (s Subnets) Check() error {
	switch {
	case !s.V4.IsValid() || !s.V4.Addr().Is4() || s.V4.Masked() != s.V4:
		return fmt.Errorf("subnet4 %v: must be an IPv4 network such as 10.87.3.0/24", s.V4)
	case s.V4.Bits() < 16 || s.V4.Bits() > 28:
		return fmt.Errorf("subnet4 %v: must be a /16 to /28", s.V4)
	case !s.V4.Addr().IsPrivate() && !shared.Contains(s.V4.Addr()) && !benchmark.Contains(s.V4.Addr()):
		return fmt.Errorf("subnet4 %v: must be private, such as 10.87.3.0/24: a public one would hide its real owner", s.V4)
	case !s.V6.IsValid() || !s.V6.Addr().Is6() || s.V6.Addr().Is4In6() || s.V6.Masked() != s.V6 || s.V6.Bits() != 64:
		return fmt.Errorf("subnet6 %v: must be a /64 such as fd12:3456:789a::/64", s.V6)
	case !ula.Contains(s.V6.Addr()):
		return fmt.Errorf("subnet6 %v: must be within %v", s.V6, ula)
	}
	return nil
}

var (
	shared    = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	benchmark = netip.MustParsePrefix("198.18.0.0/15") // RFC 2544
	ula       = netip.MustParsePrefix("fd00::/8")      // RFC 4193
)

// ErrNoSubnet says that the host has routes for every private network.
var ErrNoSubnet = errors.New("the host has a route into every private IPv4 network; set subnet4 in hutchd.toml")

// known networks that other programs take by default: free now is not free tomorrow.
var known = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/15"),    // home routers, lxcbr0, clouds
	netip.MustParsePrefix("10.8.0.0/15"),    // OpenVPN's example, VPN providers
	netip.MustParsePrefix("10.42.0.0/15"),   // k3s, NetworkManager's shared connections
	netip.MustParsePrefix("10.64.0.0/16"),   // VPN providers
	netip.MustParsePrefix("10.88.0.0/15"),   // podman
	netip.MustParsePrefix("10.96.0.0/12"),   // Kubernetes services
	netip.MustParsePrefix("10.244.0.0/16"),  // flannel
	netip.MustParsePrefix("172.16.0.0/14"),  // Docker
	netip.MustParsePrefix("192.168.0.0/17"), // home routers, libvirt
}

// ChooseSubnet4 picks a /24 that overlaps none of the given prefixes, the host's
// routes and addresses; prefixes as short as default routes do not count. Another
// seed gives another order of trying, so that two machines seldom pick the same.
func ChooseSubnet4(taken []netip.Prefix, seed string) (netip.Prefix, error) {
	free := func(p netip.Prefix, lists ...[]netip.Prefix) bool {
		for _, list := range lists {
			for _, t := range list {
				if !defaultLike(t) && t.Overlaps(p) {
					return false
				}
			}
		}
		return true
	}
	sum := sha256.Sum256([]byte("subnet4 " + seed))
	start := int(binary.BigEndian.Uint32(sum[:4]))
	for _, avoid := range [][]netip.Prefix{known, nil} {
		for _, pool := range []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("172.16.0.0/12"),
			netip.MustParsePrefix("192.168.0.0/16"),
		} {
			count := 1 << (24 - pool.Bits())
			for i := range count {
				// 40503 is odd, so every network of the pool is tried once.
				n := (start&0xffffff + i*40503) % count
				base := binary.BigEndian.Uint32(pool.Addr().AsSlice()) + uint32(n)<<8
				p := netip.PrefixFrom(addr4(base), 24)
				if free(p, taken, avoid) {
					return p, nil
				}
			}
		}
	}
	return netip.Prefix{}, ErrNoSubnet
}

// NewSubnet6 makes a unique local /64 of 40 random bits (RFC 4193, section 3.2),
// subnet 0.
func NewSubnet6(random [5]byte) netip.Prefix {
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:], random[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// Host4 is the nth address of an IPv4 network.
func Host4(p netip.Prefix, n uint32) netip.Addr {
	return addr4(binary.BigEndian.Uint32(p.Addr().AsSlice()) + n)
}

// Host6 is the nth address of an IPv6 network.
func Host6(p netip.Prefix, n uint32) netip.Addr {
	a := p.Addr().As16()
	binary.BigEndian.PutUint32(a[12:], n)
	return netip.AddrFrom16(a)
}

func size4(p netip.Prefix) uint32 { return 1 << (32 - p.Bits()) }

func addr4(n uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}
