package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/undo"
)

// Eth is the container's end of its port.
const Eth = "eth0"

// ErrOccupied says that the namespace has an interface of the port's name.
var ErrOccupied = errors.New("the namespace has an interface " + Eth + " already")

// Attach gives the namespace a port: the pair of links, the bridge's entries for
// it, and, inside, addresses of both families and routes. The pair is made with
// the namespace's descriptor; nothing of hutchd ever runs inside. mtu is in bytes.
func (r *Router) Attach(p network.Port, ns *os.File, s network.Subnets, mtu int) (err error) {
	var back undo.Stack
	defer back.UnwindOn(&err)
	if err := r.Detach(p.Link); err != nil {
		return err
	}
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: p.Link, MTU: mtu, TxQLen: 1000},
		PeerName:  Eth, PeerHardwareAddr: p.MAC, PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(ns.Fd()),
	}
	if err := r.inside.LinkAdd(pair); errors.Is(err, unix.EEXIST) {
		return ErrOccupied
	} else if err != nil {
		return fmt.Errorf("make the pair of links: %w", err)
	}
	back.Push("remove the port", func() error { return r.Detach(p.Link) })
	if err := r.join(p); err != nil {
		return err
	}
	if err := configure(p, ns, s); err != nil {
		return fmt.Errorf("inside the namespace: %w", err)
	}
	back.Release()
	return nil
}

// join makes the router's end a port of the bridge that talks to the bridge alone,
// learns nothing and forwards frames of one hardware address only.
func (r *Router) join(p network.Port) error {
	port, err := r.inside.LinkByName(p.Link)
	if err != nil {
		return err
	}
	br, err := r.inside.LinkByName(Bridge)
	if err != nil {
		return err
	}
	if err := r.inside.LinkSetMaster(port, br); err != nil {
		return err
	}
	if err := r.In(func() error { return setPort(port.Attrs().Index) }); err != nil {
		return fmt.Errorf("set the bridge's port: %w", err)
	}
	err = r.inside.NeighSet(&netlink.Neigh{
		LinkIndex: port.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: p.MAC})
	if err != nil {
		return fmt.Errorf("forwarding entry: %w", err)
	}
	for _, a := range []netip.Addr{p.Address4, p.Address6, network.LinkLocal(p.MAC)} {
		if err := neighbour(r.inside, br, a, p.MAC); err != nil {
			return err
		}
	}
	return r.inside.LinkSetUp(port)
}

// setPort sets the flags of a bridge's port (if_link.h, IFLA_BRPORT_*), all in one
// request, in the namespace of the calling thread.
func setPort(index int) error {
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_BRIDGE)
	message.Index = int32(index)
	request.AddData(message)
	flags := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	on, off := []byte{1}, []byte{0}
	flags.AddRtAttr(nl.IFLA_BRPORT_ISOLATED, on)
	flags.AddRtAttr(nl.IFLA_BRPORT_LEARNING, off)
	flags.AddRtAttr(nl.IFLA_BRPORT_LOCKED, on)
	flags.AddRtAttr(nl.IFLA_BRPORT_UNICAST_FLOOD, off)
	request.AddData(flags)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// configure sets the container's end up through a netlink socket in its namespace.
func configure(p network.Port, ns *os.File, s network.Subnets) error {
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	if lo, err := h.LinkByName("lo"); err == nil {
		if err := h.LinkSetUp(lo); err != nil {
			return err
		}
	}
	eth, err := h.LinkByName(Eth)
	if err != nil {
		return err
	}
	// The link-local address that the stack would make itself, without the second
	// that it would take to find out that nobody else has it.
	if err := addresses(h, eth, netip.PrefixFrom(p.Address4, s.V4.Bits()), netip.PrefixFrom(p.Address6, s.V6.Bits()),
		netip.PrefixFrom(network.LinkLocal(p.MAC), 64)); err != nil {
		return err
	}
	if err := h.LinkSetUp(eth); err != nil {
		return err
	}
	for _, gateway := range []netip.Addr{s.Gateway4(), s.Gateway6()} {
		if err := neighbour(h, eth, gateway, macBridge); err != nil {
			return err
		}
		if err := h.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("default route by %v: %w", gateway, err)
		}
	}
	return nil
}

// Detach takes a port away; one that is not there is no error.
func (r *Router) Detach(link string) error {
	port, err := r.inside.LinkByName(link)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := missingIsFine(r.inside.LinkDel(port)); err != nil {
		return fmt.Errorf("remove port %s: %w", link, err)
	}
	return nil
}

// Ports lists the ports that are on the bridge. A port goes by itself when the
// namespace at its other end does.
func (r *Router) Ports() (map[string]bool, error) {
	links, err := r.inside.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	ports := map[string]bool{}
	for _, l := range links {
		if l.Type() == "veth" && strings.HasPrefix(l.Attrs().Name, "p") {
			ports[l.Attrs().Name] = true
		}
	}
	return ports, nil
}

// Forget makes the router forget a port's neighbours and tracked connections, so
// that who gets the addresses next inherits nothing. The host may remember them: an
// answer that the router did not see asked for does not pass it. It takes some ten
// milliseconds, as the kernel looks through its whole table.
func (r *Router) Forget(p network.Port) error {
	br, err := r.inside.LinkByName(Bridge)
	if err != nil {
		return err
	}
	for _, a := range []netip.Addr{p.Address4, p.Address6, network.LinkLocal(p.MAC)} {
		err := r.inside.NeighDel(&netlink.Neigh{LinkIndex: br.Attrs().Index, IP: a.AsSlice()})
		if err := missingIsFine(err); err != nil {
			return err
		}
	}
	for family, a := range map[netlink.InetFamily]netip.Addr{unix.AF_INET: p.Address4, unix.AF_INET6: p.Address6} {
		if _, err := r.inside.ConntrackDeleteFilters(netlink.ConntrackTable, family, flowsOf{a.AsSlice()}); err != nil {
			return fmt.Errorf("forget the connections of %v: %w", a, err)
		}
	}
	return nil
}

// flowsOf matches connections that an address has begun or takes part in.
type flowsOf struct{ ip net.IP }

func (f flowsOf) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.SrcIP.Equal(f.ip) || flow.Forward.DstIP.Equal(f.ip)
}
