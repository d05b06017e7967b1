package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	// RouterLifetime outlasts several advertisements and a restart of hutchd.
	RouterLifetime = 30 * time.Minute

	maxInterval = 10 * time.Minute // RFC 4861, section 6.2.1
	minInterval = maxInterval / 3

	solicitBurst    = 5 // of one container: three are usual (MAX_RTR_SOLICITATIONS)
	solicitInterval = 4 * time.Second
	solicitPlaces   = 4096
)

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

// ServeRA advertises the router on conn, at once, then every few minutes, and to
// each container that solicits, until ctx ends, which is no error. It takes the
// connection over and closes it. The last advertisement is not taken back:
// hutchd may restart without its containers losing their default route. log may
// be nil.
func ServeRA(ctx context.Context, conn net.PacketConn, router func() Router, log *slog.Logger) error {
	log = orDiscard(log)
	send := func(to netip.Addr) bool {
		_, err := conn.WriteTo(router().Advertisement(), &net.IPAddr{IP: to.AsSlice()})
		if err != nil && ctx.Err() == nil {
			log.Info("router advertisement not sent", "to", to, "err", err)
		}
		return err == nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var periodic sync.WaitGroup
	periodic.Go(func() {
		for {
			wait := minInterval + rand.N(maxInterval-minInterval)
			if !send(allNodes) {
				wait = time.Second // the link is not ready, or its address not yet proved unique
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
	})
	defer periodic.Wait()
	defer cancel()

	limit := newLimiter(solicitBurst, solicitInterval, solicitPlaces)
	return receive(ctx, conn, maxPacket, func(m []byte, addr net.Addr) {
		ip, ok := addr.(*net.IPAddr)
		if !ok {
			return
		}
		from, _ := netip.AddrFromSlice(ip.IP)
		if err := CheckSolicitation(m, from); err != nil {
			log.Debug("router solicitation ignored", "from", from, "why", err)
			return
		}
		if !limit.allow(from.String(), time.Now()) {
			return
		}
		if from.IsUnspecified() {
			from = allNodes
		}
		send(from)
	})
}

// A connRA drops what did not come from this very link, sends from the
// link-local address as RFC 4861, section 6.1.2 demands, and leaves zones out of
// addresses: they are names of interfaces, and Go looks those up in whatever
// namespace the thread is in.
type connRA struct {
	net.PacketConn
	p    *ipv6.PacketConn
	from net.IP
}

// ListenRA makes the router's ICMPv6 socket on an interface of the calling
// thread's network namespace, which must have its link-local address. It needs
// CAP_NET_RAW there. It receives router solicitations only.
func ListenRA(iface string) (net.PacketConn, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("listen for router solicitations: %w", err)
	}
	from, err := linkLocal(ifi)
	if err != nil {
		return nil, fmt.Errorf("listen for router solicitations on %s: %w", iface, err)
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var optErr error
		err := raw.Control(func(fd uintptr) { optErr = unix.BindToDevice(int(fd), iface) })
		return errors.Join(err, optErr)
	}}
	conn, err := config.ListenPacket(context.Background(), "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("listen for router solicitations on %s: %w", iface, err)
	}
	p := ipv6.NewPacketConn(conn)
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	err = errors.Join(
		p.SetICMPFilter(&filter),
		p.SetHopLimit(255), // RFC 4861, section 4.2
		p.SetMulticastHopLimit(255),
		p.SetMulticastLoopback(false),
		p.SetControlMessage(ipv6.FlagHopLimit, true),
		p.JoinGroup(ifi, &net.IPAddr{IP: allRouters.AsSlice()}))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("listen for router solicitations on %s: %w", iface, err)
	}
	return &connRA{conn, p, from}, nil
}

func linkLocal(ifi *net.Interface) (net.IP, error) {
	addresses, err := ifi.Addrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsLinkLocalUnicast() {
			return n.IP, nil
		}
	}
	return nil, errors.New("no IPv6 link-local address; bring the interface up first")
}

func (c *connRA) WriteTo(b []byte, to net.Addr) (int, error) {
	return c.p.WriteTo(b, &ipv6.ControlMessage{Src: c.from}, to)
}

func (c *connRA) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, cm, from, err := c.p.ReadFrom(b)
		if err != nil {
			return 0, nil, err
		}
		ip, ok := from.(*net.IPAddr)
		if ok && cm != nil && cm.HopLimit == 255 { // else a router has passed it on
			return n, &net.IPAddr{IP: ip.IP}, nil
		}
	}
}
