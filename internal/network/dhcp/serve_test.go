package dhcp

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/testenv"
)

// link makes a router's namespace with interface br and a container's with
// interface eth0, which has testMAC.
func link(t *testing.T) (router, box *testenv.Netns) {
	router, box = testenv.NewNetns(t), testenv.NewNetns(t)
	testenv.JoinNetns(t, router, "br", box, "eth0")
	router.IP(t, "addr add 10.7.0.1/24 dev br", "addr add fd07::1/64 dev br nodad")
	box.IP(t, "link set eth0 down", "link set eth0 address "+testMAC.String(), "link set eth0 up")
	return router, box
}

// serve runs a server until the test ends and then checks that it ended well.
func serve(t *testing.T, router *testenv.Netns, listen func() (net.PacketConn, error), run func(context.Context, net.PacketConn) error) {
	t.Helper()
	var conn net.PacketConn
	router.Do(t, func() (err error) {
		conn, err = listen()
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- run(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
}

func serve4(t *testing.T, router *testenv.Netns, lookup Lookup) {
	serve(t, router, func() (net.PacketConn, error) { return Listen4("br") },
		func(ctx context.Context, conn net.PacketConn) error { return Serve4(ctx, conn, lookup, nil) })
}

// script writes an executable that notes its environment in a file of the test's.
func script(t *testing.T, text string) (path, notes string) {
	dir := t.TempDir()
	path, notes = filepath.Join(dir, "script"), filepath.Join(dir, "notes")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+strings.ReplaceAll(text, "NOTES", notes)), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, notes
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServe4Udhcpc(t *testing.T) {
	testenv.RequireTools(t, "udhcpc")
	router, box := link(t)
	serve4(t, router, lookup)
	hook, notes := script(t, `[ "$1" = bound ] && env | sort > NOTES; exit 0`)
	out := box.Run(t, "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "1", "-s", hook, "-F", "wpad", "-x", "hostname:localhost")
	got := read(t, notes)
	for _, want := range []string{"ip=10.7.0.9", "mask=24", "router=10.7.0.1", "dns=10.7.0.1", "domain=hutch", "mtu=1400", "lease=3600", "serverid=10.7.0.1"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("udhcpc did not get %s:\n%s\n%s", want, got, out)
		}
	}
	if strings.Contains(got, "hostname=") {
		t.Errorf("udhcpc was told a name:\n%s", got)
	}
}

func TestServe4Dhclient(t *testing.T) {
	testenv.RequireTools(t, "dhclient")
	router, box := link(t)
	serve4(t, router, lookup)
	hook, notes := script(t, `echo "$reason" >> NOTES; case "$reason" in BOUND|REBOOT) env | sort >> NOTES;; esac; exit 0`)
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte("request subnet-mask, routers, domain-name, domain-name-servers, interface-mtu, host-name;\nsend host-name \"gateway\";\nsend fqdn.fqdn \"wpad.\";\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dhclient := func(more ...string) string {
		return box.Run(t, "dhclient", append([]string{"-4", "-v", "-cf", conf, "-lf", dir + "/leases", "-pf", dir + "/pid", "-sf", hook, "-1"}, append(more, "eth0")...)...)
	}
	t.Cleanup(func() {
		c := box.Command("dhclient", "-4", "-x", "-pf", dir+"/pid", "-lf", dir+"/leases", "-cf", conf, "-sf", hook, "eth0")
		c.Run()
	})
	out := dhclient()
	got := read(t, notes)
	for _, want := range []string{"BOUND", "new_ip_address=10.7.0.9", "new_subnet_mask=255.255.255.0", "new_routers=10.7.0.1", "new_domain_name=hutch", "new_interface_mtu=1400"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("dhclient did not get %s:\n%s\n%s", want, got, out)
		}
	}
	if strings.Contains(got, "new_host_name") {
		t.Errorf("dhclient was told a name:\n%s", got)
	}
}

// Frames to another container are never on this container's wire, and a
// container without a record hears nothing.
func TestServe4Stranger(t *testing.T) {
	testenv.RequireTools(t, "udhcpc")
	router, box := link(t)
	serve4(t, router, func(net.HardwareAddr) (api.Lease, bool) { return api.Lease{}, false })
	hook, notes := script(t, `[ "$1" = bound ] && env > NOTES; exit 0`)
	c := box.Command("udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "2", "-T", "1", "-s", hook)
	if out, err := c.CombinedOutput(); err == nil {
		t.Errorf("a stranger got a lease:\n%s", out)
	}
	if _, err := os.Stat(notes); err == nil {
		t.Error("a stranger was bound")
	}
}

// The kernel of a container that listens to advertisements gets its default
// route, MTU and no address.
func TestServeRA(t *testing.T) {
	router, box := link(t)
	box.Run(t, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=1", "net.ipv6.conf.eth0.router_solicitation_delay=0")
	serve(t, router, func() (net.PacketConn, error) { return ListenRA("br") },
		func(ctx context.Context, conn net.PacketConn) error {
			return ServeRA(ctx, conn, func() Router {
				return Router{Prefix: netip.MustParsePrefix("fd07::/64"), DNS: testLease.DNS, Search: "hutch", MTU: 1400, Lifetime: RouterLifetime}
			}, nil)
		})
	// Taking the link down and up makes the kernel solicit; the first, multicast
	// advertisement may be sent before the container's address is usable.
	box.IP(t, "link set eth0 down", "link set eth0 up")
	routerLL := strings.Fields(router.Run(t, "ip", "-6", "-o", "addr", "show", "dev", "br", "scope", "link"))[3]
	routerLL, _, _ = strings.Cut(routerLL, "/")
	want := "default via " + routerLL + " dev eth0 proto ra"
	var got string
	eventually(t, func() bool {
		got = box.Run(t, "ip", "-6", "route", "show", "default")
		return strings.Contains(got, want)
	}, func() string { return "default route " + got + ", want " + want })
	if got := strings.TrimSpace(box.Run(t, "sysctl", "-n", "net.ipv6.conf.eth0.mtu")); got != "1400" {
		t.Errorf("MTU %s, want 1400", got)
	}
	if got := box.Run(t, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "global"); got != "" {
		t.Errorf("the advertisement made an address: %s", got)
	}
	if got := box.Run(t, "ip", "-6", "route", "show", "fd07::/64"); got != "" {
		t.Errorf("the advertisement made an on-link route: %s", got)
	}
}

// eventually waits for a state of the kernel or of another process; how long is
// bounded only so that a failure ends.
func eventually(t *testing.T, ok func() bool, what func() string) {
	t.Helper()
	for range 300 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("still not so: %s", what())
}

func TestDatagramChecksums(t *testing.T) {
	d := datagram([]byte{1, 2, 3}, testLease.Gateway4, testLease.Address4.Addr())
	if got := sum(0, d[:20]); got != 0xffff {
		t.Errorf("IPv4 header sums to %#x", got)
	}
	pseudo := bytes.Join([][]byte{d[12:20], {0, 17, 0, 11}, d[20:]}, nil)
	if got := sum(0, pseudo); got != 0xffff {
		t.Errorf("UDP sums to %#x", got)
	}
}
