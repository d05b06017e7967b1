package network

import (
	"net"
	"net/netip"

	"github.com/hutch-project/hutch/internal/network/api"
)

// A Wanted is the whole state that links and rules are made to match.
type Wanted struct {
	Subnets Subnets
	Outside Outside
	Ports   []Port
}

// A Port is one container's link to the bridge.
type Port struct {
	ID       string
	Name     string // of the container
	Link     string // the router's end, PortName(ID)
	MAC      net.HardwareAddr
	Address4 netip.Addr
	Address6 netip.Addr
	Policy   api.Policy
}

// NewPort derives a container's port from what is remembered of it.
func NewPort(s Subnets, id, name string, number uint32, policy api.Policy) Port {
	return Port{
		ID: id, Name: name, Link: PortName(id), MAC: MAC(id),
		Address4: Host4(s.V4, number), Address6: Host6(s.V6, number), Policy: policy,
	}
}

// Domain is the DNS domain of containers' names.
const Domain = "hutch"

// Lease says to the container what its port is.
func (p Port) Lease(s Subnets, mtu int) api.Lease {
	return api.Lease{
		MAC:      p.MAC.String(),
		Address4: netip.PrefixFrom(p.Address4, s.V4.Bits()),
		Address6: netip.PrefixFrom(p.Address6, s.V6.Bits()),
		Gateway4: s.Gateway4(), Gateway6: s.Gateway6(),
		DNS:    []netip.Addr{s.Gateway4(), s.Gateway6()},
		Search: Domain,
		MTU:    mtu,
	}
}
