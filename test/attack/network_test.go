package attack

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/testenv"
)

// Threats 1 to 5: everything but what lies behind the default route.
func TestOnlyTheInternet(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	c.checkMatrix(t)
	for _, to := range []string{"100.64.0.1", "169.254.169.254", "10.1.2.3", "224.0.0.251", "255.255.255.255", "fd00::1", "64:ff9b::808:808", "ff02::fb", "fe80::1"} {
		if strings.HasPrefix(to, "fe80") || strings.HasPrefix(to, "ff02") {
			to += "%eth0"
		}
		if name, err := c.reach("tcp", to, testenv.WorkstationPort); err == nil {
			t.Errorf("%s answered: %s", to, name)
		}
	}
	for _, a := range []netip.Addr{c.lease.Gateway4, c.lease.Gateway6} {
		if _, err := c.reach("ping", a.String(), 0); err != nil {
			t.Errorf("the gateway %v does not answer echo: %v", a, err)
		}
	}
	// A reset ends connect(2) at once; an ICMP error that comes back while it is still
	// under way does after the next try only, with another errno.
	for _, to := range []string{testenv.HostLAN4, testenv.HostLAN6, testenv.LAN4, testenv.LAN6} {
		if _, err := c.reach("tcp", to, testenv.WorkstationPort); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s: got %v, not a refusal", to, err)
		}
	}
	t.Run("on a flat bridge all of it answers", func(t *testing.T) {
		flat := newWorld(t)
		got := flat.flat().matrix(append(closed, open...))
		if want := len(ways) * (len(closed) + len(open)); len(got) != want {
			t.Errorf("%d of %d answered: %v", len(got), want, got)
		}
	})
}

// Threats 1 to 5, for networks of special purpose that the host happens to have
// behind its default route, and host's link.
func TestHostLinkIsClosed(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	s := network.Subnets{V4: c.lease.Address4.Masked(), V6: c.lease.Address6.Masked()}
	for _, a := range []netip.Addr{s.Link4(), s.Link6()} {
		for _, how := range ways {
			if name, err := c.reach(how, a.String(), testenv.WorkstationPort); err == nil {
				t.Errorf("%v by %s answered: %s", a, how, name)
			}
		}
	}
	// The host itself may open connections to the container.
	if err := w.Serve(c.ns, "container", 9090); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Prefix{c.lease.Address4, c.lease.Address6} {
		host := &container{ns: w.Host}
		for _, how := range []string{"tcp", "udp"} {
			if name, err := host.reach(how, a.Addr().String(), 9090); name != "container" {
				t.Errorf("the host does not reach %v by %s: %q %v", a, how, name, err)
			}
		}
		lan := &container{ns: w.LAN}
		via := testenv.HostLAN4
		if a.Addr().Is6() {
			via = testenv.HostLAN6
		}
		w.run(w.LAN, fmt.Sprintf("ip route replace %s via %s", a.Masked(), via))
		if name, err := lan.reach("tcp", a.Addr().String(), 9090); err == nil {
			t.Errorf("the LAN reaches %v: %s", a, name)
		}
	}
}

// Threat 6: what somebody has translated to the host or the LAN.
func TestTranslatedDestination(t *testing.T) {
	rules := `nft 'add table ip nat6543; add chain ip nat6543 pre { type nat hook prerouting priority -100; }
add rule ip nat6543 pre ip daddr 9.9.9.9 tcp dport 9000 dnat to 192.168.50.2:8080
add rule ip nat6543 pre ip daddr 9.9.9.9 tcp dport 9001 dnat to 192.168.50.10:8080'`
	w := newWorld(t)
	w.start()
	w.run(w.Host, rules)
	c := w.attached("ff")
	for port := 9000; port <= 9001; port++ {
		if name, err := c.reach("tcp", "9.9.9.9", port); err == nil {
			t.Errorf("port %d reached %s", port, name)
		}
	}
	flat := newWorld(t)
	f := flat.flat()
	flat.run(flat.Host, rules)
	for port, want := range map[int]string{9000: "host", 9001: "lan"} {
		if name, _ := f.reach("tcp", "9.9.9.9", port); name != want {
			t.Errorf("on a flat bridge port %d reached %q, want %q", port, name, want)
		}
	}
}

// Threat 7: one container to another, directly and by way of the gateway.
func TestContainersAreApart(t *testing.T) {
	w := newWorld(t)
	w.start()
	a, b := w.attached("a"), w.attached("b")
	if err := w.Serve(b.ns, "b", 9090); err != nil {
		t.Fatal(err)
	}
	link := network.LinkLocal(hardware(t, b)).String() + "%eth0"
	targets := []string{b.lease.Address4.Addr().String(), b.lease.Address6.Addr().String(), link}
	try := func() (reached []string) {
		for _, to := range targets {
			for _, how := range []string{"tcp", "udp"} {
				if name, err := a.reach(how, to, 9090); err == nil {
					reached = append(reached, to+" by "+how+": "+name)
				}
			}
		}
		return reached
	}
	shell := func(c *container, command string) {
		t.Helper()
		if err := c.in(func() error { return exec.Command("sh", "-ec", command).Run() }); err != nil {
			t.Fatal(err)
		}
	}
	if r := try(); r != nil {
		t.Errorf("directly: %v", r)
	}
	// Attackers know each other's hardware addresses.
	shell(a, fmt.Sprintf(`for a in %s %s %s; do ip neigh replace $a lladdr %s dev eth0 nud permanent; done`,
		targets[0], targets[1], network.LinkLocal(hardware(t, b)), b.lease.MAC))
	if r := try(); r != nil {
		t.Errorf("with a known neighbour: %v", r)
	}
	router := w.router()
	ports := strings.Fields(w.run(router, `for p in /sys/class/net/*; do :; done; ip -o link show master br | sed 's/^[0-9]*: \([^@]*\)@.*/\1/'`))
	if len(ports) != 2 {
		t.Fatalf("ports %v, want two", ports)
	}
	t.Run("without isolation it is reached", func(t *testing.T) {
		for _, p := range ports {
			w.run(router, "bridge link set dev "+p+" isolated off")
		}
		if r := try(); len(r) != 6 {
			t.Errorf("only %v", r)
		}
		for _, p := range ports {
			w.run(router, "bridge link set dev "+p+" isolated on")
		}
	})
	for _, p := range [][2]*container{{a, b}, {b, a}} { // both are in it together
		from, to := p[0], p[1]
		shell(from, fmt.Sprintf("ip route replace %s/32 via %s dev eth0; ip route replace %s/128 via %s dev eth0",
			to.lease.Address4.Addr(), from.lease.Gateway4, to.lease.Address6.Addr(), from.lease.Gateway6))
	}
	targets = targets[:2]
	if r := try(); r != nil {
		t.Errorf("by way of the gateway: %v", r)
	}
	t.Run("without the rules the gateway leads there", func(t *testing.T) {
		w.run(router, "nft delete table inet hutch")
		if r := try(); len(r) == 0 {
			t.Error("nothing reached")
		}
	})
}

// Threats 8, 9 and 10: frames in another's name.
func TestSpoofing(t *testing.T) {
	w := newWorld(t)
	w.start()
	a, b := w.attached("a"), w.attached("b")
	router := w.router()
	state := func() string {
		return w.run(router, "bridge fdb show br br | sort; ip neigh show dev br | sed 's/ used.*//' | sort")
	}
	before := state()
	ma, mb, gateway := hardware(t, a), hardware(t, b), a.bridgeMAC(t)
	everybody := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	zero := net.HardwareAddr{0, 0, 0, 0, 0, 0}
	a4, b4, a6, b6 := a.lease.Address4.Addr(), b.lease.Address4.Addr(), a.lease.Address6.Addr(), b.lease.Address6.Addr()
	to4, to6 := netip.MustParseAddrPort(testenv.Internet4+":4444"), netip.MustParseAddrPort("["+testenv.Internet6+"]:4444")
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 5555) }

	var seen atomic.Int64
	if err := w.In(w.Internet, func() error {
		l, err := net.ListenUDP("udp", &net.UDPAddr{Port: 4444})
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			buffer := make([]byte, 100)
			for {
				if _, _, err := l.ReadFrom(buffer); err != nil {
					return
				}
				seen.Add(1)
			}
		}()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	advertisement := func(of netip.Addr, mac net.HardwareAddr) []byte { // neighbour advertisement, override
		return append(append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, of.AsSlice()...), append([]byte{2, 1}, mac...)...)
	}
	all := netip.MustParseAddr("ff02::1")
	forged := [][]byte{
		ethernet(gateway, mb, 0x0800, udp(at(b4), to4, "x")),                                       // b's MAC and address
		ethernet(gateway, ma, 0x0800, udp(at(b4), to4, "x")),                                       // b's address
		ethernet(gateway, mb, 0x0800, udp(at(a4), to4, "x")),                                       // b's MAC
		ethernet(gateway, ma, 0x0800, udp(at(netip.MustParseAddr("8.8.4.4")), to4, "x")),           // a stranger's
		ethernet(gateway, ma, 0x0800, udp(at(a.lease.Gateway4), to4, "x")),                         // the gateway's
		ethernet(gateway, ma, 0x86dd, udp(at(b6), to6, "x")),                                       //
		ethernet(gateway, mb, 0x86dd, udp(at(a6), to6, "x")),                                       //
		ethernet(gateway, ma, 0x86dd, udp(at(netip.MustParseAddr("2600::1")), to6, "x")),           //
		ethernet(everybody, ma, 0x0806, arp(2, ma, b4, everybody, b4)),                             // gratuitous ARP for b
		ethernet(everybody, ma, 0x0806, arp(2, ma, a.lease.Gateway4, everybody, a.lease.Gateway4)), // for the gateway
		ethernet(gateway, ma, 0x0806, arp(1, mb, b4, zero, a.lease.Gateway4)),                      // asked in b's name
		ethernet(gateway, ma, 0x86dd, icmp6(network.LinkLocal(ma), a.lease.Gateway6, advertisement(b6, ma))),
		ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, ma, 0x86dd, icmp6(b6, all, advertisement(b6, ma))),
		ethernet(gateway, ma, 0x8100, append([]byte{0, 1, 8, 0}, udp(at(b4), to4, "x")...)), // behind a VLAN tag
	}
	hear := b.sniff(t)
	for range 3 {
		a.send(t, forged...)
	}
	// What is honest passes, and after it everything before it has been judged.
	a.send(t, ethernet(gateway, ma, 0x0800, udp(at(a4), to4, "x")), ethernet(gateway, ma, 0x86dd, udp(at(a6), to6, "x")))
	eventually(t, "the honest ones arrive", func() bool { return seen.Load() >= 2 })
	if n := seen.Load(); n != 2 {
		t.Errorf("%d datagrams arrived, want the two honest ones", n)
	}
	if after := state(); after != before {
		t.Errorf("tables before:\n%safter:\n%s", before, after)
	}
	for _, f := range hear() {
		t.Errorf("b heard %x", f)
	}
	if drops := w.run(router, "nft list table bridge hutch | grep 'counter packets' | grep -v 'packets 0' | wc -l"); strings.TrimSpace(drops) == "0" {
		t.Error("no counter rose")
	}

	t.Run("without the pins they pass", func(t *testing.T) {
		w.kill(unix.SIGKILL) // else it puts back what is taken away
		w.run(router, "nft delete table bridge hutch; nft delete table inet hutch")
		w.run(router, "echo 0 >/proc/sys/net/ipv4/conf/br/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter")
		for _, p := range []*container{a, b} {
			w.run(router, "bridge link set dev "+network.PortName(p.id)+" learning on locked off isolated off")
		}
		seen.Store(0)
		hear := b.sniff(t)
		a.send(t, forged...)
		// The host's own table stands, it drops those from outside the subnet.
		eventually(t, "forged ones arrive", func() bool { return seen.Load() >= 3 })
		eventually(t, "the bridge has learned", func() bool {
			a.send(t, forged...)
			return state() != before
		})
		if len(hear()) == 0 {
			t.Error("b heard nothing")
		}
	})
}

// Threat 11: a container that says it is a router.
func TestRogueRouterAdvertisement(t *testing.T) {
	w := newWorld(t)
	w.start()
	a, b := w.attached("a"), w.attached("b")
	router := w.router()
	state := func() string {
		return w.run(router, "ip -6 route; ip -6 -o addr") + w.run(w.Host, "ip -6 route; ip -6 -o addr")
	}
	before := state()
	ma := hardware(t, a)
	message := append([]byte{134, 0, 0, 0, 64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
		3, 4, 64, 0xc0, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 0}, netip.MustParseAddr("2001:4860::").AsSlice()...)
	forged := ethernet(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, ma, 0x86dd,
		icmp6(network.LinkLocal(ma), netip.MustParseAddr("ff02::1"), message))
	hear := b.sniff(t)
	a.send(t, forged, forged, forged)
	if _, err := a.reach("ping", a.lease.Gateway6.String(), 0); err != nil {
		t.Fatal(err)
	}
	if after := state(); after != before {
		t.Errorf("before:\n%safter:\n%s", before, after)
	}
	if f := hear(); len(f) > 0 {
		t.Errorf("the neighbour heard %d frames", len(f))
	}
	t.Run("a host that listens believes it", func(t *testing.T) {
		w.run(router, "nft delete table bridge hutch; nft delete table inet hutch; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding; for f in br all; do echo 2 >/proc/sys/net/ipv6/conf/$f/accept_ra; done")
		eventually(t, "the router has another route", func() bool {
			a.send(t, forged)
			return strings.Contains(w.run(router, "ip -6 route"), "2001:4860::")
		})
	})
}

// Threat 12: the router does not say where the host's other addresses are.
func TestARPForOtherAddresses(t *testing.T) {
	w := newWorld(t)
	w.start()
	a := w.attached("a")
	ma := hardware(t, a)
	everybody := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	zero := net.HardwareAddr{0, 0, 0, 0, 0, 0}
	answers := func(of netip.Addr) (n int) {
		hear := a.sniff(t)
		for range 3 {
			a.send(t, ethernet(everybody, ma, 0x0806, arp(1, ma, a.lease.Address4.Addr(), zero, of)))
		}
		if _, err := a.reach("ping", a.lease.Gateway4.String(), 0); err != nil {
			t.Fatal(err)
		}
		for _, f := range hear() {
			if len(f) >= 32 && f[12] == 8 && f[13] == 6 && netip.AddrFrom4([4]byte(f[28:32])) == of {
				n++
			}
		}
		return n
	}
	for _, of := range []netip.Addr{netip.MustParseAddr(testenv.HostLAN4), netip.MustParseAddr(testenv.LAN4), netip.MustParseAddr("127.0.0.1")} {
		if n := answers(of); n > 0 {
			t.Errorf("%d answers for %v", n, of)
		}
	}
	if answers(a.lease.Gateway4) == 0 {
		t.Error("no answer for the gateway either")
	}
}

// Threat 13: what the host says to everybody.
func TestHostsNoise(t *testing.T) {
	shout := func(w *world, hutch string) {
		if err := w.In(w.Host, func() error {
			for _, to := range []string{"224.0.0.251:5353", "239.255.255.250:1900", "[ff02::fb%" + hutch + "]:5353"} {
				c, err := net.Dial("udp", to)
				if err != nil {
					continue
				}
				c.Write([]byte("noise"))
				c.Close()
			}
			for _, group := range []string{"224.0.0.251", "255.255.255.255"} {
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
				if err != nil {
					return err
				}
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
				unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, hutch)
				unix.Sendto(fd, []byte("noise"), 0, &unix.SockaddrInet4{Port: 5353, Addr: netip.MustParseAddr(group).As4()})
				unix.Close(fd)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	noise := func(frames [][]byte) (n int) {
		for _, f := range frames {
			if strings.HasSuffix(strings.TrimRight(string(f), "\x00"), "noise") {
				n++
			}
		}
		return n
	}
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	hear := c.sniff(t)
	for range 5 {
		shout(w, "hutch0")
	}
	if _, err := c.reach("ping", c.lease.Gateway4.String(), 0); err != nil {
		t.Fatal(err)
	}
	if n := noise(hear()); n > 0 {
		t.Errorf("%d frames of noise", n)
	}
	flat := newWorld(t)
	f := flat.flat()
	hear = f.sniff(t)
	shout(flat, "flat0")
	if _, err := f.reach("ping", "10.99.0.1", 0); err != nil {
		t.Fatal(err)
	}
	if noise(hear()) == 0 {
		t.Error("on a flat bridge no noise either")
	}
}

// Threat 14: Docker drops what it does not know.
func TestDockersForwardPolicy(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	w.run(w.Host, "nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'")
	if name, err := c.reach("tcp", testenv.Internet4, testenv.WorkstationPort); err == nil {
		t.Fatalf("the policy does not drop: %s", name)
	}
	w.run(w.Host, "nft 'add chain ip filter DOCKER-USER; add rule ip filter DOCKER-USER return; add rule ip filter FORWARD jump DOCKER-USER'")
	eventually(t, "the Internet is back", func() bool {
		name, _ := c.reach("tcp", testenv.Internet4, testenv.WorkstationPort)
		return name == "internet"
	})
	c.checkMatrix(t)
	w.hutchd("--cleanup")
	if rules := w.run(w.Host, "nft list chain ip filter DOCKER-USER"); strings.Contains(rules, "hutch0") {
		t.Errorf("rules left in Docker's chain:\n%s", rules)
	}
}

// Threat 15: a firewall manager that accepts everything.
func TestOthersAcceptAll(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	w.run(w.Host, `nft 'add table inet ufw
add chain inet ufw f { type filter hook forward priority -400; policy accept; }
add rule inet ufw f accept
add chain inet ufw i { type filter hook input priority -400; policy accept; }
add rule inet ufw i accept
add chain inet ufw l { type filter hook forward priority 400; policy accept; }
add rule inet ufw l accept'`)
	c.checkMatrix(t)
}

// Threat 16: somebody flushes the host's rules, again and again, while a container
// tries every door; and hutchd is killed and comes back.
func TestFlushWhileKnocking(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := w.Run(w.Host, "nft", "flush", "ruleset"); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for round := range 3 {
		for what, name := range c.matrix(closed) {
			t.Errorf("reached %s: %s", what, name)
		}
		if round == 1 {
			w.kill(unix.SIGKILL)
			for what, name := range c.matrix(closed) {
				t.Errorf("without hutchd reached %s: %s", what, name)
			}
			w.start()
		}
	}
	close(stop)
	group.Wait()
	eventually(t, "the Internet is back", func() bool {
		name, _ := c.reach("tcp", testenv.Internet4, testenv.WorkstationPort)
		return name == "internet"
	})
	c.checkMatrix(t)
}

// Threats 2 and 3, live: a network comes up on the host while a container knocks.
func TestNetworkComesUp(t *testing.T) {
	for _, family := range []struct{ host, lan, address string }{
		{"66.66.66.2/24", "66.66.66.10/24", "66.66.66.10"},
		{"2a03:6666::2/64", "2a03:6666::10/64", "2a03:6666::10"},
	} {
		w := newWorld(t)
		w.start()
		c := w.attached("ff")
		if err := testenv.Dress(w.LAN, "br0", family.lan); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		stop := make(chan struct{})
		for range 4 {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if name, err := c.reach("udp", family.address, testenv.WorkstationPort); err == nil {
							t.Errorf("%s answered: %s", family.address, name)
							return
						}
					}
				}
			})
		}
		host := &container{ns: w.Host}
		for range 5 {
			w.run(w.Host, "ip addr add "+family.host+" nodad dev eth0 2>/dev/null || ip addr add "+family.host+" dev eth0")
			eventually(t, "the host reaches it", func() bool {
				_, err := host.reach("udp", family.address, testenv.WorkstationPort)
				return err == nil
			})
			w.run(w.Host, "ip addr del "+family.host+" dev eth0")
		}
		close(stop)
		group.Wait()
	}
}

// Without a default route everything is closed, whatever else there is.
func TestNoDefaultRoute(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	w.run(w.Host, "ip route del default; ip -6 route del default; ip route add 93.184.216.0/24 via 192.168.50.1; ip -6 route add 2a00:1450::/32 via 2a01:4f8:50::1")
	host := &container{ns: w.Host}
	if got := host.matrix(open[:2]); len(got) != 2*len(ways) {
		t.Fatalf("the host reaches only %v", got)
	}
	eventually(t, "hutchd has seen it", func() bool {
		s, err := w.client().Status()
		return err == nil && len(s.Uplinks) == 0
	})
	for what, name := range c.matrix(append(open, closed...)) {
		t.Errorf("reached %s: %s", what, name)
	}
	w.run(w.Host, "ip route add default via 192.168.50.1; ip -6 route add default via 2a01:4f8:50::1; ip route del 93.184.216.0/24; ip -6 route del 2a00:1450::/32")
	eventually(t, "the Internet is back", func() bool { return len(c.matrix(open)) == len(open)*len(ways) })
}

// Threats 17 and 18: forwarding for containers makes the host no router for others,
// and does not make it one in its own eyes.
func TestHostIsNoRouterForTheLAN(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	w.run(w.LAN, "ip route add 11.22.0.5 via 192.168.50.2; ip -6 route add 2a02:1122::5 via 2a01:4f8:50::2")
	lan := &container{ns: w.LAN}
	behind := []target{{"the VPN", testenv.BehindVPN4}, {"the VPN by IPv6", testenv.BehindVPN6}}
	try := func() map[string]string { return lan.matrix(behind) }
	if got := try(); len(got) > 0 {
		t.Errorf("the LAN reached %v", got)
	}
	w.run(w.Host, "nft flush ruleset")
	if got := try(); len(got) > 0 {
		t.Errorf("after a flush the LAN reached %v", got)
	}
	if v := strings.TrimSpace(w.run(w.Host, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding | tr '\\n' ' '")); v != "0 0" {
		t.Errorf("forwarding for all interfaces is %s", v)
	}
	eventually(t, "the Internet is back", func() bool { return len(c.matrix(open)) == len(open)*len(ways) })
	t.Run("without the guard it is one", func(t *testing.T) {
		w.kill(unix.SIGKILL)
		w.run(w.Host, "nft flush ruleset; for f in -4 -6; do for p in 14110 14111; do ip $f rule del pref $p; done; done")
		w.run(w.Host, "echo 1 >/proc/sys/net/ipv4/conf/tun0/forwarding; echo 1 >/proc/sys/net/ipv6/conf/tun0/force_forwarding")
		if got := try(); len(got) != len(behind)*len(ways) {
			t.Errorf("only %v", got)
		}
		w.run(w.Host, "echo 0 >/proc/sys/net/ipv4/conf/tun0/forwarding; echo 0 >/proc/sys/net/ipv6/conf/tun0/force_forwarding")
	})
}

// Threat 19: a frame for 127.0.0.1.
func TestLoopbackFromTheWire(t *testing.T) {
	w := newWorld(t)
	w.start()
	a := w.attached("a")
	router := w.router()
	var heard atomic.Int64
	for _, ns := range []*os.File{router, w.Host} {
		if err := w.In(ns, func() error {
			l, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
			if err != nil {
				return err
			}
			t.Cleanup(func() { l.Close() })
			go func() {
				for {
					if _, _, err := l.ReadFrom(make([]byte, 100)); err != nil {
						return
					}
					heard.Add(1)
				}
			}()
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	from := netip.AddrPortFrom(a.lease.Address4.Addr(), 5555)
	packet := ethernet(a.bridgeMAC(t), hardware(t, a), 0x0800, udp(from, netip.MustParseAddrPort("127.0.0.1:53"), "x"))
	a.send(t, packet, packet)
	if _, err := a.reach("ping", a.lease.Gateway4.String(), 0); err != nil {
		t.Fatal(err)
	}
	if heard.Load() != 0 {
		t.Error("a frame for 127.0.0.1 was heard")
	}
	t.Run("without the rules and with route_localnet it is", func(t *testing.T) {
		w.run(router, "nft flush ruleset; echo 1 >/proc/sys/net/ipv4/conf/br/route_localnet")
		a.send(t, packet)
		eventually(t, "it is heard", func() bool { return heard.Load() == 1 })
	})
}

// Threat 21: a container that opens connections without end.
func TestFlowLimit(t *testing.T) {
	w := newWorld(t)
	w.start()
	a, b := w.attached("a"), w.attached("b")
	gateway, ma := a.bridgeMAC(t), hardware(t, a)
	to := netip.MustParseAddrPort(testenv.Internet4 + ":9")
	const n = 30000
	frames := make([][]byte, 0, n)
	for i := range n {
		frames = append(frames, ethernet(gateway, ma, 0x0800, udp(netip.AddrPortFrom(a.lease.Address4.Addr(), uint16(1024+i)), to, "x")))
	}
	a.send(t, frames...)
	if _, err := a.reach("ping", a.lease.Gateway4.String(), 0); err != nil {
		t.Fatal(err)
	}
	count := strings.TrimSpace(w.run(w.Host, "cat /proc/sys/net/netfilter/nf_conntrack_count"))
	var flows int
	fmt.Sscan(count, &flows)
	if flows < 4000 || flows > 8300 {
		t.Errorf("%d flows on the host, want some 8192", flows)
	}
	for _, c := range []*container{b, {ns: w.Host}} {
		if name, err := c.reach("tcp", testenv.Internet4, testenv.WorkstationPort); err != nil {
			t.Errorf("another does not get through: %q %v", name, err)
		}
	}
}

// Threat 46: an address that another container had, with a hutchd killed between.
func TestReusedAddress(t *testing.T) {
	w := newWorld(t)
	if err := os.MkdirAll(w.layout.Config, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.layout.NetdConfigFile(), []byte("subnet4 = \"10.77.0.0/28\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.start()
	old := w.attached("old")
	if _, err := old.reach("udp", testenv.Internet4, testenv.WorkstationPort); err != nil {
		t.Fatal(err)
	}
	if err := w.client().Forget(old.id); err != nil {
		t.Fatal(err)
	}
	// The namespace of the old one lives on, with its link gone.
	w.kill(unix.SIGKILL)
	w.start()
	var next *container
	for range 400 { // ids until one comes by the same address
		c := newContainer(t, "next")
		w.attach(c)
		if c.lease.Address4 == old.lease.Address4 {
			next = c
			break
		}
		if err := w.client().Forget(c.id); err != nil {
			t.Fatal(err)
		}
		c.end()
	}
	if next == nil {
		t.Fatal("the address was never given again")
	}
	if next.lease.MAC == old.lease.MAC {
		t.Error("the same hardware address for another container")
	}
	router := w.router()
	if rules := w.run(router, "nft list table bridge hutch"); strings.Contains(rules, network.PortName(old.id)) || !strings.Contains(rules, network.PortName(next.id)) {
		t.Errorf("the rules do not speak of the new port alone:\n%s", rules)
	}
	next.checkMatrix(t)
}

// A connection outlives hutchd, and the next hutchd knows the port.
func TestKilledAndAdopted(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	before, err := w.client().List()
	if err != nil {
		t.Fatal(err)
	}
	var conn net.Conn
	if err := c.in(func() (err error) {
		conn, err = net.Dial("tcp", net.JoinHostPort(testenv.Internet4, fmt.Sprint(testenv.WorkstationPort)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	r.ReadString('\n')
	talk := func() {
		t.Helper()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("still there?\n")); err != nil {
			t.Fatal(err)
		}
		if line, err := r.ReadString('\n'); err != nil || line != "still there?\n" {
			t.Fatalf("%q %v", line, err)
		}
	}
	talk()
	w.kill(unix.SIGKILL)
	talk()
	c.checkMatrix(t)
	w.start()
	talk()
	after, err := w.client().List()
	if err != nil || len(after) != 1 || fmt.Sprint(after[0].Lease, after[0].Since.UnixNano()) != fmt.Sprint(before[0].Lease, before[0].Since.UnixNano()) {
		t.Errorf("before %+v, after %+v: %v", before, after, err)
	}
	c.checkMatrix(t)
	conn.Close() // a socket keeps its namespace alive
	c.end()
	eventually(t, "the port of an ended container is gone", func() bool {
		list, err := w.client().List()
		return err == nil && len(list) == 0
	})
}

func (w *world) hostRoutes() string {
	return w.run(w.Host, "ip -o addr | sed 's/ tentative//'; ip route; ip -6 route; ip rule; ip -6 rule; nft list ruleset")
}

// hostState is all of the host that hutchd changes.
func (w *world) hostState() string {
	return w.hostRoutes() + w.run(w.Host, `
for f in /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding /proc/sys/net/ipv6/conf/*/force_forwarding /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv4/conf/*/rp_filter; do [ ! -e $f ] || echo $f $(cat $f); done
find `+w.layout.Root+`/run -type f | sort; grep `+w.layout.Root+` /proc/self/mounts || true`)
}

// What hutchd makes on the host is gone when it is not needed, and after a cleanup,
// also one that knows nothing.
func TestLeavesTheHostAsItWas(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		w := newWorld(t)
		if err := os.MkdirAll(w.layout.Runtime, 0o755); err != nil {
			t.Fatal(err)
		}
		before := w.hostState()
		w.start("--idle=300ms")
		c := w.attached("ff")
		if _, err := c.reach("tcp", testenv.Internet4, testenv.WorkstationPort); err != nil {
			t.Error(err)
		}
		if w.hostState() == before {
			t.Fatal("nothing has changed at all")
		}
		c.end()
		if err := w.daemon.Wait(); err != nil {
			t.Errorf("hutchd: %v", err)
		}
		w.daemon = nil
		w.run(w.Host, "rm -f "+w.layout.Runtime+"/hutchd.json "+w.layout.Runtime+"/hutchd.lock")
		if after := w.hostState(); after != before {
			t.Errorf("before:\n%safter:\n%s", before, after)
		}
	})
	t.Run("cleanup of a running one", func(t *testing.T) {
		w := newWorld(t)
		if err := os.MkdirAll(w.layout.Runtime, 0o755); err != nil {
			t.Fatal(err)
		}
		before := w.hostState()
		w.hutchd("--cleanup")
		w.start()
		w.attached("ff")
		go w.daemon.Wait()
		w.hutchd("--cleanup")
		w.daemon = nil
		if after := w.hostState(); after != before {
			t.Errorf("before:\n%safter:\n%s", before, after)
		}
		w.hutchd("--cleanup")
	})
	t.Run("cleanup without records", func(t *testing.T) {
		w := newWorld(t)
		before := w.hostRoutes()
		w.start()
		w.attached("ff")
		w.kill(unix.SIGKILL)
		w.run(w.Host, "rm -f "+w.layout.Runtime+"/*.json "+w.layout.Runtime+"/*.sock "+w.layout.Runtime+"/*.lock; rm -rf "+w.layout.Netd)
		w.hutchd("--cleanup")
		if after := w.hostRoutes(); after != before {
			t.Errorf("before:\n%safter:\n%s", before, after)
		}
	})
}

// hutchd's door: what is not a container's network gets no port, and what is no
// request gets an error.
func TestDoor(t *testing.T) {
	w := newWorld(t)
	w.start()
	c := w.attached("ff")
	client := w.client()
	refused := func(what string, a api.Attach, f *os.File) {
		t.Helper()
		if lease, err := client.Attach(a, f); err == nil {
			t.Errorf("%s got %+v", what, lease)
		}
	}
	fresh := func() api.Attach { return api.Attach{ID: newID(t), Name: "x", Policy: api.Internet} }
	file, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other := newContainer(t, "other")
	userns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", other.process.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer userns.Close()
	refused("a file", fresh(), file)
	refused("a user namespace", fresh(), userns)
	refused("the host's network", fresh(), w.Host)
	refused("the router", fresh(), w.router())
	refused("the namespace of another container", fresh(), c.ns)
	for _, bad := range []api.Attach{
		{ID: "../../etc", Name: "x", Policy: api.Internet},
		{ID: newID(t), Name: "a.b", Policy: api.Internet},
		{ID: newID(t), Name: "wpad", Policy: api.Internet},
		{ID: newID(t), Name: c.name, Policy: api.Internet},
		{ID: newID(t), Name: "x", Policy: api.None},
		{ID: newID(t), Name: "x", Policy: "everything"},
	} {
		refused(fmt.Sprintf("%+v", bad), bad, other.ns)
	}
	// The same again is the same lease.
	again, err := client.Attach(api.Attach{ID: c.id, Name: c.name, Policy: api.Internet}, c.ns)
	if err != nil || *fmtLease(again) != *fmtLease(c.lease) {
		t.Errorf("attached again: %+v %v, want %+v", again, err, c.lease)
	}
	// The same container in another namespace takes its addresses along.
	moved, err := client.Attach(api.Attach{ID: c.id, Name: c.name, Policy: api.Internet}, other.ns)
	if err != nil || *fmtLease(moved) != *fmtLease(c.lease) {
		t.Errorf("moved: %+v %v, want %+v", moved, err, c.lease)
	}
	other.checkMatrix(t)
	if got := c.matrix(open[:1]); len(got) > 0 {
		t.Errorf("the namespace it left still reaches %v", got)
	}

	raw := func(packet []byte, files ...*os.File) (string, error) {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20)
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: w.layout.NetdSocket()}); err != nil {
			return "", err
		}
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		if err := unix.Sendmsg(fd, packet, unix.UnixRights(fds...), nil, 0); err != nil {
			return "", err
		}
		buffer := make([]byte, api.MaxPacket)
		n, err := unix.Read(fd, buffer)
		return string(buffer[:max(n, 0)]), err
	}
	many := make([]*os.File, 100)
	for i := range many {
		many[i] = file
	}
	for what, try := range map[string]func() (string, error){
		"garbage":           func() (string, error) { return raw([]byte("\x00\xff{{{")) },
		"half":              func() (string, error) { return raw([]byte(`{"version":1,"op":"att`)) },
		"two":               func() (string, error) { return raw([]byte(`{"version":1,"op":"list"}{"version":1,"op":"list"}`)) },
		"another version":   func() (string, error) { return raw([]byte(`{"version":99,"op":"list"}`)) },
		"an unknown key":    func() (string, error) { return raw([]byte(`{"version":1,"op":"list","path":"/"}`)) },
		"an unknown op":     func() (string, error) { return raw([]byte(`{"version":1,"op":"exec"}`)) },
		"attach of nothing": func() (string, error) { return raw([]byte(`{"version":1,"op":"attach"}`)) },
		"files with a list": func() (string, error) { return raw([]byte(`{"version":1,"op":"list"}`), file, file) },
		"100 files":         func() (string, error) { return raw([]byte(`{"version":1,"op":"list"}`), many...) },
		"too long":          func() (string, error) { return raw(make([]byte, api.MaxPacket+1)) },
	} {
		if answer, err := try(); err != nil || !strings.Contains(answer, `"error":"`) {
			t.Errorf("%s: answer %q, %v", what, answer, err)
		}
	}
	if _, err := client.List(); err != nil {
		t.Errorf("after all that: %v", err)
	}
	// Connections that say nothing keep nobody else out for ever, and are bounded.
	for range 200 {
		if idle, err := api.Dial(w.layout.NetdSocket()); err == nil {
			defer idle.Close()
		}
	}
	if _, err := client.List(); err != nil {
		t.Errorf("with 200 silent ones: %v", err)
	}
	info, err := os.Stat(w.layout.NetdSocket())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v: %v", info.Mode(), err)
	}
}

func fmtLease(l *api.Lease) *string { s := fmt.Sprintf("%+v", *l); return &s }
