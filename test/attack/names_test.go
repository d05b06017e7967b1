package attack

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/network/dhcp"
	"github.com/hutch-project/hutch/internal/network/dns"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// A names scene is a hostile container, its router with DHCP and DNS as hutchd
// runs them, and an upstream server that answers with whatever an attacker likes.
type names struct {
	box, router, upstream *testenv.Netns
	log                   string // the upstream's
}

var (
	namesMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 7}
	namesLease = api.Lease{
		MAC:      namesMAC.String(),
		Address4: netip.MustParsePrefix("10.7.0.9/24"),
		Gateway4: netip.MustParseAddr("10.7.0.1"),
		DNS:      []netip.Addr{netip.MustParseAddr("10.7.0.1")},
		Search:   "hutch",
		MTU:      1500,
	}
)

func (*names) Addresses(_ netip.Addr, label string) ([]netip.Addr, bool) {
	return []netip.Addr{namesLease.Address4.Addr()}, label == "evil"
}

func (*names) Name(_, a netip.Addr) (string, bool) { return "evil", a == namesLease.Address4.Addr() }

func newNames(t *testing.T) *names {
	testenv.RequireRoot(t)
	testenv.RequireTools(t, "dnsmasq", "dig")
	s := &names{box: testenv.NewNetns(t), router: testenv.NewNetns(t), upstream: testenv.NewNetns(t)}
	testenv.JoinNetns(t, s.router, "br0", s.box, "eth0")
	testenv.JoinNetns(t, s.router, "up0", s.upstream, "down0")
	s.router.IP(t, "addr add 10.7.0.1/24 dev br0", "addr add 23.45.60.1/24 dev up0")
	s.box.IP(t, "link set dev eth0 down", "link set dev eth0 address "+namesMAC.String(), "link set dev eth0 up", "addr add 10.7.0.9/24 dev eth0")
	s.upstream.IP(t, "addr add 23.45.60.53/24 dev down0")

	dir := t.TempDir()
	s.log = filepath.Join(dir, "log")
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte(`no-resolv
no-hosts
log-queries
keep-in-foreground
user=root
pid-file=
listen-address=23.45.60.53
bind-interfaces
local-ttl=60
address=/wpad/192.168.1.66
address=/lan/192.168.1.7
address=/local/192.168.1.7
address=/#/23.45.60.80
address=/r1.example.com/192.168.1.1
address=/r2.example.com/10.7.0.1
address=/r3.example.com/127.0.0.1
address=/r4.example.com/0.0.0.0
address=/r5.example.com/100.64.0.1
address=/r6.example.com/169.254.169.254
address=/r7.example.com/::1
address=/r8.example.com/fd07::1
address=/r9.example.com/fe80::1
address=/r10.example.com/::ffff:192.168.1.1
address=/r11.example.com/64:ff9b::c0a8:101
address=/r12.example.com/2002:c0a8:101::1
host-record=mixed.example.com,192.168.1.1
host-record=mixed.example.com,23.45.60.81
host-record=alias-target.lan,192.168.1.1
cname=alias.example.com,alias-target.lan
dns-rr=h.example.com,65,00010000040004c0a80101
ptr-record=1.1.168.192.in-addr.arpa,router.lan
log-facility=`+s.log+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.upstream.Command("dnsmasq", "--conf-file="+conf)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	for range 500 {
		if strings.Contains(s.queries(t, "started"), "started") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}

	var socket dns.Socket
	var leases net.PacketConn
	s.router.Do(t, func() (err error) {
		if socket, err = dns.Listen(namesLease.Gateway4); err != nil {
			return err
		}
		leases, err = dhcp.Listen4("br0")
		return err
	})
	server := dns.New(dns.Config{
		Domain: "hutch", Gateway: []netip.Addr{namesLease.Gateway4}, Records: s,
		Upstreams: func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("23.45.60.53:53")} },
		Dial: func(ctx context.Context, network string, server netip.AddrPort) (conn net.Conn, err error) {
			err = sys.InNamespace(s.router.File, unix.CLONE_NEWNET, func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, server.String())
				return err
			})
			return conn, err
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(ctx, socket) }()
	go func() {
		ended <- dhcp.Serve4(ctx, leases, func(mac net.HardwareAddr) (api.Lease, bool) {
			return namesLease, mac.String() == namesMAC.String()
		}, nil)
	}()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// queries returns the lines of the upstream's log that hold a word.
func (s *names) queries(t *testing.T, word string) string {
	t.Helper()
	log, err := os.ReadFile(s.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var found strings.Builder
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, word) {
			found.WriteString(line)
		}
	}
	return found.String()
}

func (s *names) dig(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(s.box.Run(t, "dig", append([]string{"@10.7.0.1", "+short", "+time=8", "+tries=1"}, args...)...))
}

// sendFrame broadcasts a DHCP request from any hardware address, which an
// ordinary socket would not let a client choose.
func (s *names) sendFrame(t *testing.T, fd, ifindex int, request []byte) {
	t.Helper()
	p := make([]byte, 28, 28+len(request))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(request)))
	copy(p[16:20], []byte{255, 255, 255, 255})
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[20:], 68)
	binary.BigEndian.PutUint16(p[22:], 67)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(request))) // checksum 0: none
	to := &unix.SockaddrLinklayer{Protocol: 0x0008, Ifindex: ifindex, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	if err := unix.Sendto(fd, append(p, request...), 0, to); err != nil {
		t.Fatal(err)
	}
}

// Threat 23: 5,000 hardware addresses get one lease between them, the record's.
func TestDHCPExhaustion(t *testing.T) {
	s := newNames(t)
	var fd, ifindex int
	s.box.Do(t, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		ifindex = ifi.Index
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0x0008) // ETH_P_IP, in network order
		return err
	})
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	discover := func(mac net.HardwareAddr) []byte {
		p, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover), dhcpv4.WithBroadcast(true))
		if err != nil {
			t.Fatal(err)
		}
		return p.ToBytes()
	}
	for i := range 4999 {
		s.sendFrame(t, fd, ifindex, discover(net.HardwareAddr{0x02, 1, 2, 3, byte(i >> 8), byte(i)}))
		if i%50 == 0 {
			time.Sleep(time.Millisecond) // the server is to hear them, not to drop them
		}
	}
	s.sendFrame(t, fd, ifindex, discover(namesMAC))

	// The server answers in order: the record's offer is the last of all, and
	// must be the only one.
	leases := make(map[string]string)
	buffer := make([]byte, 2000)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil {
			t.Fatalf("the record's own offer did not come: %v", err)
		}
		if n < 28 || buffer[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(buffer[20:]) != 67 {
			continue
		}
		offer, err := dhcpv4.FromBytes(buffer[28:n])
		if err != nil {
			t.Fatal(err)
		}
		leases[offer.ClientHWAddr.String()] = offer.YourIPAddr.String()
		if offer.ClientHWAddr.String() == namesMAC.String() {
			break
		}
	}
	if len(leases) != 1 || leases[namesMAC.String()] != "10.7.0.9" {
		t.Errorf("leases: %v, want the record's alone", leases)
	}
}

// Threat 24: a name said in DHCP is nobody's name.
func TestDHCPNameTheft(t *testing.T) {
	s := newNames(t)
	testenv.RequireTools(t, "udhcpc")
	hook := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, forged := range []string{"wpad", "localhost", "gateway", "victim"} {
		before := s.dig(t, forged)
		s.box.Run(t, "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "1", "-s", hook, "-x", "hostname:"+forged, "-F", forged+".hutch")
		for _, name := range []string{forged, forged + ".hutch"} {
			if got := s.dig(t, name); strings.Contains(got, "10.7.0.9") {
				t.Errorf("%s is the container now: %s", name, got)
			}
		}
		if after := s.dig(t, forged); after != before {
			t.Errorf("%s was %q, is %q", forged, before, after)
		}
	}
	if got := s.dig(t, "-x", "10.7.0.9"); got != "evil.hutch." {
		t.Errorf("the container's own name became %s", got)
	}
}

// Threat 25: no name outside points inside.
func TestDNSRebinding(t *testing.T) {
	s := newNames(t)
	if got := s.dig(t, "plain.example.com"); got != "23.45.60.80" {
		t.Fatalf("an honest name is %q: the test would prove nothing", got)
	}
	for i := 1; i <= 12; i++ {
		name := fmt.Sprintf("r%d.example.com", i)
		qtype := "A"
		if i >= 7 {
			qtype = "AAAA"
		}
		for _, how := range []string{"+notcp", "+tcp"} {
			if got := s.dig(t, how, name, qtype); got != "" {
				t.Errorf("%s %s %s: %s", how, name, qtype, got)
			}
		}
		if s.queries(t, name) == "" {
			t.Errorf("%s was never asked upstream: it proves nothing", name)
		}
	}
	if got := s.dig(t, "mixed.example.com"); got != "23.45.60.81" {
		t.Errorf("mixed: %q, want the global address alone", got)
	}
	if got := s.dig(t, "alias.example.com"); got != "" {
		t.Errorf("an alias into the home network: %q", got)
	}
	if got := s.dig(t, "h.example.com", "TYPE65"); strings.Contains(got, "192.168.1.1") || strings.Contains(strings.ToUpper(got), "C0A80101") {
		t.Errorf("hint: %q", got)
	} else if got == "" {
		t.Error("the HTTPS record went away whole; its hint alone should")
	}
}

// Threat 26: the home network's names are not to be had through its server.
func TestDNSOracle(t *testing.T) {
	s := newNames(t)
	for _, ask := range []string{
		"-x 192.168.1.1", "-x 10.0.0.1", "-x 172.16.0.1", "-x 169.254.1.1", "-x 100.64.0.1", "-x fe80::1", "-x fd00::1",
		"1.168.192.in-addr.arpa SOA", "b._dns-sd._udp.0.1.168.192.in-addr.arpa PTR",
		"nas.lan", "NAS.LAN", "printer.local", "router.home.arpa", "x.internal", "x.localdomain", "fritz.box",
		"router", "nas AAAA", "lan SOA", "wpad", "wpad.example.com", "isatap.example.com", "other.hutch", "a.evil.hutch",
	} {
		if got := s.dig(t, strings.Fields(ask)...); got != "" {
			t.Errorf("dig %s: %s", ask, got)
		}
	}
	if got := s.dig(t, "plain.example.com"); got != "23.45.60.80" {
		t.Errorf("an honest name: %q", got)
	}
	asked := s.queries(t, "query[")
	if strings.Count(asked, "\n") != 1 || !strings.Contains(asked, "plain.example.com") {
		t.Errorf("upstream was asked:\n%s", asked)
	}
}

// Threat 27: a corpus of broken packets on the wire; the servers go on and
// nothing of them stays. The parsers' fuzz targets are in their packages.
func TestBrokenPackets(t *testing.T) {
	s := newNames(t)
	s.dig(t, "evil")
	before := runtime.NumGoroutine()
	var toDNS, toDHCP net.Conn
	s.box.Do(t, func() (err error) {
		if toDNS, err = net.Dial("udp4", "10.7.0.1:53"); err != nil {
			return err
		}
		toDHCP, err = net.Dial("udp4", "10.7.0.1:67")
		return err
	})
	defer toDNS.Close()
	defer toDHCP.Close()
	corpus := [][]byte{
		{}, {0}, make([]byte, 11), make([]byte, 12), make([]byte, 240), make([]byte, 9000),
		{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1},                   // a name that points at itself
		{0, 1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},                 // counts of what is not there
		{0, 1, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1},            // an answer instead of a question
		{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63, 'a'},                                // a cut label
		{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 41, 0, 0, 0, 0, 0}, // a cut OPT
	}
	p, err := dhcpv4.New(dhcpv4.WithHwAddr(namesMAC), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover))
	if err != nil {
		t.Fatal(err)
	}
	whole := p.ToBytes()
	for cut := range len(whole) {
		corpus = append(corpus, whole[:cut])
		flipped := append([]byte(nil), whole...)
		flipped[cut] ^= 0xff
		corpus = append(corpus, flipped)
	}
	for _, packet := range corpus {
		toDNS.Write(packet)
		toDHCP.Write(packet)
	}
	if got := s.dig(t, "evil"); got != "10.7.0.9" {
		t.Errorf("afterwards evil is %q", got)
	}
	if n := runtime.NumGoroutine(); n > before+4 {
		t.Errorf("%d goroutines, before %d", n, before)
	}
}
