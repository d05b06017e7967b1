package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/sys"
)

// Names of the links in the router's namespace.
const (
	Up     = "up" // to the host's network.LinkName
	Bridge = "br"
)

// A Router is the namespace that stands between containers and everything else.
// It is bound to a file, so that it and the traffic through it outlive hutchd.
type Router struct {
	ns     *os.File
	file   string
	inside *netlink.Handle
	host   *netlink.Handle
}

// Open enters into service the router bound to file, making it where it is not
// there.
func Open(file string) (*Router, error) {
	ns, err := openNamespace(file)
	if errors.Is(err, errNoNamespace) {
		ns, err = makeNamespace(file)
	}
	if err != nil {
		return nil, fmt.Errorf("router namespace: %w", err)
	}
	r := &Router{ns: ns, file: file}
	if r.inside, err = netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		ns.Close()
		return nil, fmt.Errorf("router namespace: %w", err)
	}
	if r.host, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Namespace is the router's; it stays the router's to close.
func (r *Router) Namespace() *os.File { return r.ns }

// Close lets go of the router and leaves it in service.
func (r *Router) Close() error {
	r.inside.Close()
	if r.host != nil {
		r.host.Close()
	}
	return r.ns.Close()
}

var errNoNamespace = errors.New("no network namespace is bound to it")

func openNamespace(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoNamespace
	}
	if err != nil {
		return nil, err
	}
	if kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		f.Close()
		return nil, errNoNamespace
	}
	return f, nil
}

func makeNamespace(file string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return nil, err
	}
	f.Close()
	err = sys.OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := settle(); err != nil {
			return err
		}
		return os.NewSyscallError("mount", unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, ""))
	})
	if err != nil {
		return nil, errors.Join(err, os.Remove(file))
	}
	return openNamespace(file)
}

// settle sets the calling thread's fresh namespace up as a router that believes
// nobody: no addresses of its own choice, no advertisements or redirects taken or
// given, no ARP for other interfaces' addresses.
func settle() error {
	for _, s := range []struct{ file, value string }{
		{"ipv4/ip_forward", "1"},
		{"ipv6/conf/all/forwarding", "1"},
		{"ipv6/conf/default/accept_ra", "0"},
		{"ipv6/conf/all/accept_redirects", "0"},
		{"ipv6/conf/default/accept_redirects", "0"},
		{"ipv6/conf/default/addr_gen_mode", "1"},
		{"ipv6/conf/default/accept_dad", "0"},
		{"ipv6/conf/default/proxy_ndp", "1"}, // for the host's link alone, see ensureBridge
		{"ipv6/neigh/default/proxy_delay", "0"},
		{"ipv4/neigh/default/proxy_delay", "0"},
		{"ipv4/conf/all/accept_redirects", "0"},
		{"ipv4/conf/default/accept_redirects", "0"},
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv4/conf/default/send_redirects", "0"},
		{"ipv4/conf/all/rp_filter", "1"},
		{"ipv4/conf/default/rp_filter", "1"},
		{"ipv4/conf/all/arp_ignore", "1"},
		{"ipv4/conf/default/arp_ignore", "1"},
		{"ipv4/conf/all/route_localnet", "0"},
		{"ipv4/conf/default/route_localnet", "0"},
		{"bridge/bridge-nf-call-iptables", "0"},
		{"bridge/bridge-nf-call-ip6tables", "0"},
		{"bridge/bridge-nf-call-arptables", "0"},
	} {
		err := os.WriteFile(filepath.Join("/proc/sys/net", s.file), []byte(s.value), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 or br_netfilter
			return err
		}
	}
	return nil
}

// Ensure makes what is missing of the link between host and router and of the
// bridge, and changes nothing that is right.
func (r *Router) Ensure(s network.Subnets) error {
	// Without a loopback there is no table of local addresses, and without that no
	// gateway is believed in.
	lo, err := r.inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if lo.Attrs().Flags&net.FlagUp == 0 {
		if err := r.inside.LinkSetUp(lo); err != nil {
			return err
		}
	}
	if err := r.ensureLink(s); err != nil {
		return fmt.Errorf("link to the router: %w", err)
	}
	if err := r.ensureBridge(s); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	return nil
}

// mac of the ends that hutch makes on its own behalf; each stands alone on its link.
func ownMAC(last byte) net.HardwareAddr { return net.HardwareAddr{0x02, 'h', 'u', 't', 'c', last} }

var (
	macHost   = ownMAC(1)
	macUp     = ownMAC(2)
	macBridge = ownMAC(3)
)

// GatewayMAC is the hardware address of the gateway, as containers see it.
func GatewayMAC() net.HardwareAddr { return slices.Clone(macBridge) }

func (r *Router) ensureLink(s network.Subnets) error {
	outer, outerErr := r.host.LinkByName(network.LinkName)
	inner, innerErr := r.inside.LinkByName(Up)
	if outerErr != nil || innerErr != nil || outer.Attrs().ParentIndex != inner.Attrs().Index {
		if outerErr == nil {
			if outer.Type() != "veth" {
				return fmt.Errorf("an interface %s stands on the host that is not hutch's; rename it", network.LinkName)
			}
			if err := r.host.LinkDel(outer); err != nil {
				return err
			}
		}
		if innerErr == nil {
			if err := missingIsFine(r.inside.LinkDel(inner)); err != nil {
				return err
			}
		}
		pair := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: network.LinkName, HardwareAddr: macHost, TxQLen: 1000},
			PeerName:  Up, PeerHardwareAddr: macUp, PeerNamespace: netlink.NsFd(r.ns.Fd()),
		}
		if err := r.host.LinkAdd(pair); err != nil {
			return err
		}
		var err error
		if outer, err = r.host.LinkByName(network.LinkName); err != nil {
			return err
		}
		if inner, err = r.inside.LinkByName(Up); err != nil {
			return err
		}
		// Before it is up for the first time: no address of its own choice.
		if err := missingIsFine(r.host.LinkSetIP6AddrGenMode(outer, 1)); err != nil {
			return err
		}
		for _, f := range []string{"accept_ra", "accept_redirects", "accept_dad"} {
			path := filepath.Join("/proc/sys/net/ipv6/conf", network.LinkName, f)
			if err := os.WriteFile(path, []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	for _, e := range []struct {
		h    *netlink.Handle
		link netlink.Link
	}{{r.host, outer}, {r.inside, inner}} {
		if e.link.Attrs().Flags&net.FlagUp == 0 {
			if err := e.h.LinkSetUp(e.link); err != nil {
				return err
			}
		}
	}
	if err := addresses(r.host, outer, single(s.Link4()), single(s.Link6())); err != nil {
		return err
	}
	for _, n := range []struct {
		h    *netlink.Handle
		link netlink.Link
		to   netip.Prefix
		via  netip.Addr
		mac  net.HardwareAddr
	}{
		{r.host, outer, s.V4, s.Gateway4(), macUp},
		{r.host, outer, s.V6, s.Gateway6(), macUp},
		{r.inside, inner, netip.MustParsePrefix("0.0.0.0/0"), s.Link4(), macHost},
		{r.inside, inner, netip.MustParsePrefix("::/0"), s.Link6(), macHost},
	} {
		if err := neighbour(n.h, n.link, n.via, n.mac); err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: n.link.Attrs().Index, Dst: ipNet(n.to), Gw: n.via.AsSlice(), Flags: int(netlink.FLAG_ONLINK)}
		if n.h == r.host && n.to == s.V4 {
			route.Src = s.Link4().AsSlice()
		}
		if n.h == r.host && n.to == s.V6 {
			route.Src = s.Link6().AsSlice()
		}
		if err := ensureRoute(n.h, route); err != nil {
			return fmt.Errorf("route to %v: %w", n.to, err)
		}
	}
	// The host's own address is behind the link, not on the bridge.
	for _, a := range []netip.Addr{s.Link4(), s.Link6()} {
		route := &netlink.Route{LinkIndex: inner.Attrs().Index, Dst: ipNet(single(a)), Scope: netlink.SCOPE_LINK}
		if a.Is6() {
			route.Scope = netlink.SCOPE_UNIVERSE
		}
		if err := ensureRoute(r.inside, route); err != nil {
			return fmt.Errorf("route to %v: %w", a, err)
		}
	}
	return nil
}

func (r *Router) ensureBridge(s network.Subnets) error {
	br, err := r.inside.LinkByName(Bridge)
	if err != nil {
		off := false
		err := r.inside.LinkAdd(&netlink.Bridge{
			LinkAttrs:         netlink.LinkAttrs{Name: Bridge, HardwareAddr: macBridge, TxQLen: 1000},
			MulticastSnooping: &off,
		})
		if err != nil {
			return err
		}
		if br, err = r.inside.LinkByName(Bridge); err != nil {
			return err
		}
	}
	if br.Attrs().Flags&net.FlagUp == 0 {
		if err := r.inside.LinkSetUp(br); err != nil {
			return err
		}
	}
	// Containers look for the host's end of the link on the bridge, where by its
	// address it should be.
	for _, a := range []netip.Addr{s.Link4(), s.Link6()} {
		family := netlink.FAMILY_V4
		if a.Is6() {
			family = netlink.FAMILY_V6
		}
		proxy := &netlink.Neigh{LinkIndex: br.Attrs().Index, Family: family, Flags: netlink.NTF_PROXY, IP: a.AsSlice()}
		if err := r.inside.NeighSet(proxy); err != nil {
			return fmt.Errorf("answer for %v: %w", a, err)
		}
	}
	return addresses(r.inside, br,
		netip.PrefixFrom(s.Gateway4(), s.V4.Bits()), netip.PrefixFrom(s.Gateway6(), 64), netip.MustParsePrefix("fe80::1/64"))
}

// Remove takes the host's end of the link and the router with everything in it
// away; what is not there is no error.
func Remove(file string) error {
	var failures []error
	if link, err := netlink.LinkByName(network.LinkName); err == nil && link.Type() == "veth" {
		failures = append(failures, missingIsFine(netlink.LinkDel(link)))
	}
	for { // a crash between two hutchds may have bound it twice
		err := unix.Unmount(file, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err == unix.EINVAL || err == unix.ENOENT {
			break
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("unmount %s: %w", file, err))
			break
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		failures = append(failures, err)
	}
	return errors.Join(failures...)
}

// addresses makes the given ones the only ones of the link.
func addresses(h *netlink.Handle, link netlink.Link, wanted ...netip.Prefix) error {
	have, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	has := map[netip.Prefix]bool{}
	for _, a := range have {
		ones, _ := a.Mask.Size()
		ip, _ := netip.AddrFromSlice(a.IP)
		p := netip.PrefixFrom(ip.Unmap(), ones)
		has[p] = true
		keep := false
		for _, w := range wanted {
			keep = keep || w == p
		}
		if !keep {
			if err := h.AddrDel(link, &a); err != nil {
				return fmt.Errorf("remove address %v: %w", p, err)
			}
		}
	}
	for _, w := range wanted {
		if has[w] {
			continue
		}
		a := &netlink.Addr{IPNet: ipNet(w)}
		if w.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrReplace(link, a); err != nil {
			return fmt.Errorf("address %v: %w", w, err)
		}
	}
	return nil
}

// ensureRoute adds a route where the link has none such. One that is replaced by
// itself would be news to all who follow the routes, hutchd among them.
func ensureRoute(h *netlink.Handle, wanted *netlink.Route) error {
	family := netlink.FAMILY_V4
	if len(wanted.Dst.IP) == net.IPv6len {
		family = netlink.FAMILY_V6
	}
	have, err := h.RouteListFiltered(family, &netlink.Route{LinkIndex: wanted.LinkIndex}, netlink.RT_FILTER_OIF)
	if err != nil {
		return err
	}
	for _, r := range have {
		to := "0.0.0.0/0"
		if family == netlink.FAMILY_V6 {
			to = "::/0"
		}
		if r.Dst != nil {
			to = r.Dst.String()
		}
		if to == wanted.Dst.String() && r.Gw.Equal(wanted.Gw) && (wanted.Src == nil || r.Src.Equal(wanted.Src)) {
			return nil
		}
	}
	return h.RouteReplace(wanted)
}

func neighbour(h *netlink.Handle, link netlink.Link, a netip.Addr, mac net.HardwareAddr) error {
	err := h.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(), HardwareAddr: mac})
	if err != nil {
		return fmt.Errorf("neighbour %v: %w", a, err)
	}
	return nil
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func missingIsFine(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

// In runs f on a thread inside the router, so that the sockets it makes are the
// router's.
func (r *Router) In(f func() error) error { return sys.InNamespace(r.ns, unix.CLONE_NEWNET, f) }

// Watch calls changed whenever a link of the router's has gone, until the context
// ends. What comes, comes by this package's own doing.
func (r *Router) Watch(ctx context.Context, changed func()) error {
	socket, err := nl.SubscribeAt(netns.NsHandle(r.ns.Fd()), netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("watch the router's links: %w", err)
	}
	context.AfterFunc(ctx, socket.Close)
	go func() {
		for ctx.Err() == nil {
			messages, _, err := socket.Receive()
			gone := err != nil // an overrun of the queue: whatever it was is lost
			for _, m := range messages {
				gone = gone || m.Header.Type == unix.RTM_DELLINK
			}
			if gone && ctx.Err() == nil {
				changed()
			}
			if err == unix.EBADF {
				return
			}
		}
	}()
	return nil
}
