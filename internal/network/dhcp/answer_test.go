package dhcp

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	testMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 7}
	testLease = api.Lease{
		MAC:      testMAC.String(),
		Address4: netip.MustParsePrefix("10.7.0.9/24"),
		Address6: netip.MustParsePrefix("fd07::9/64"),
		Gateway4: netip.MustParseAddr("10.7.0.1"),
		Gateway6: netip.MustParseAddr("fd07::1"),
		DNS:      []netip.Addr{netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("fd07::1")},
		Search:   "hutch",
		MTU:      1400,
	}
)

func lookup(mac net.HardwareAddr) (api.Lease, bool) {
	return testLease, bytes.Equal(mac, testMAC)
}

func request(t testing.TB, mac net.HardwareAddr, kind dhcpv4.MessageType, more ...dhcpv4.Modifier) []byte {
	t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(kind)}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	return p.ToBytes()
}

func TestAnswer(t *testing.T) {
	var (
		own     = net.IP{10, 7, 0, 9}
		other   = net.IP{10, 7, 0, 10}
		gateway = net.IP{10, 7, 0, 1}
		ask     = func(ip net.IP) dhcpv4.Modifier {
			return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip))
		}
		server = func(ip net.IP) dhcpv4.Modifier {
			return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip))
		}
		none dhcpv4.MessageType
	)
	for _, c := range []struct {
		name string
		ask  []byte
		want dhcpv4.MessageType
		to   string
	}{
		{"discover", request(t, testMAC, dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer, "10.7.0.9"},
		{"discover, broadcast", request(t, testMAC, dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true)), dhcpv4.MessageTypeOffer, "255.255.255.255"},
		{"discover wanting another address", request(t, testMAC, dhcpv4.MessageTypeDiscover, ask(other)), dhcpv4.MessageTypeOffer, "10.7.0.9"},
		{"select", request(t, testMAC, dhcpv4.MessageTypeRequest, ask(own), server(gateway)), dhcpv4.MessageTypeAck, "10.7.0.9"},
		{"select another server", request(t, testMAC, dhcpv4.MessageTypeRequest, ask(own), server(other)), none, ""},
		{"select another address", request(t, testMAC, dhcpv4.MessageTypeRequest, ask(other), server(gateway)), dhcpv4.MessageTypeNak, "255.255.255.255"},
		{"reboot", request(t, testMAC, dhcpv4.MessageTypeRequest, ask(own)), dhcpv4.MessageTypeAck, "10.7.0.9"},
		{"reboot, moved", request(t, testMAC, dhcpv4.MessageTypeRequest, ask(other)), dhcpv4.MessageTypeNak, "255.255.255.255"},
		{"renew", request(t, testMAC, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(own)), dhcpv4.MessageTypeAck, "10.7.0.9"},
		{"renew another's", request(t, testMAC, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(other)), dhcpv4.MessageTypeNak, "255.255.255.255"},
		{"inform", request(t, testMAC, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(own)), dhcpv4.MessageTypeAck, "10.7.0.9"},
		{"inform from another's", request(t, testMAC, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(other)), none, ""},
		{"release", request(t, testMAC, dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(own)), none, ""},
		{"decline", request(t, testMAC, dhcpv4.MessageTypeDecline, ask(own)), none, ""},
		{"stranger", request(t, net.HardwareAddr{2, 0, 0, 0, 0, 8}, dhcpv4.MessageTypeDiscover), none, ""},
		{"relayed", request(t, testMAC, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(other)), none, ""},
		{"a reply", request(t, testMAC, dhcpv4.MessageTypeOffer, func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }), none, ""},
		{"offer", request(t, testMAC, dhcpv4.MessageTypeOffer), none, ""},
		{"garbage", []byte("hello"), none, ""},
		{"too long", make([]byte, maxPacket+1), none, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Answer(c.ask, lookup)
			if c.want == none {
				if r != nil || err == nil {
					t.Fatalf("answered %+v, %v; want silence with a reason", r, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := dhcpv4.FromBytes(r.Packet)
			if err != nil {
				t.Fatal(err)
			}
			if got.MessageType() != c.want || r.Peer.To.String() != c.to || !bytes.Equal(r.Peer.Hardware, testMAC) {
				t.Errorf("answered %s to %s; want %s to %s@%s", got.MessageType(), &r.Peer, c.want, c.to, testMAC)
			}
			if c.want == dhcpv4.MessageTypeNak && !got.YourIPAddr.IsUnspecified() {
				t.Errorf("a refusal that gives %s", got.YourIPAddr)
			}
		})
	}
}

func TestAnswerSaysTheRecord(t *testing.T) {
	forged := []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptHostName("wpad")),
		dhcpv4.WithGeneric(dhcpv4.OptionFQDN, []byte("\x01\x00\x00localhost")),
		dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, []byte{1, 2, 3}),
	}
	r, err := Answer(request(t, testMAC, dhcpv4.MessageTypeDiscover, forged...), lookup)
	if err != nil {
		t.Fatal(err)
	}
	got, err := dhcpv4.FromBytes(r.Packet)
	if err != nil {
		t.Fatal(err)
	}
	if !got.YourIPAddr.Equal(net.IP{10, 7, 0, 9}) ||
		got.SubnetMask().String() != "ffffff00" ||
		len(got.Router()) != 1 || !got.Router()[0].Equal(net.IP{10, 7, 0, 1}) ||
		len(got.DNS()) != 1 || !got.DNS()[0].Equal(net.IP{10, 7, 0, 1}) ||
		got.DomainName() != "hutch" ||
		!got.ServerIdentifier().Equal(net.IP{10, 7, 0, 1}) ||
		got.IPAddressLeaseTime(0) != LeaseTime ||
		!bytes.Equal(got.Options.Get(dhcpv4.OptionInterfaceMTU), []byte{1400 >> 8, 1400 & 0xff}) ||
		!bytes.Equal(got.Options.Get(dhcpv4.OptionClientIdentifier), []byte{1, 2, 3}) {
		t.Errorf("offer:\n%s", got.Summary())
	}
	if got.Options.Has(dhcpv4.OptionHostName) || got.Options.Has(dhcpv4.OptionFQDN) {
		t.Error("the client's name came back")
	}
	inform, err := Answer(request(t, testMAC, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.IP{10, 7, 0, 9})), lookup)
	if err != nil {
		t.Fatal(err)
	}
	got, _ = dhcpv4.FromBytes(inform.Packet)
	if !got.YourIPAddr.IsUnspecified() || got.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
		t.Errorf("an informed client was given an address:\n%s", got.Summary())
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(3, time.Second, 2)
	now := time.Unix(1000, 0)
	count := func(who string) (n int) {
		for range 10 {
			if l.allow(who, now) {
				n++
			}
		}
		return n
	}
	if a, b, c := count("a"), count("b"), count("c"); a != 3 || b != 3 || c != 0 {
		t.Errorf("at first %d, %d, %d; want 3, 3 and no place for the third", a, b, c)
	}
	now = now.Add(2 * time.Second)
	if a := count("a"); a != 2 {
		t.Errorf("after 2 s %d, want 2", a)
	}
	now = now.Add(time.Minute)
	if c := count("c"); c != 3 {
		t.Errorf("the third, later: %d, want 3", c)
	}
	now = now.Add(-time.Hour)
	if c := count("c"); c != 0 {
		t.Errorf("with the clock gone back: %d, want 0", c)
	}
	now = now.Add(time.Second)
	if c := count("c"); c != 1 {
		t.Errorf("a second after the clock went back: %d, want 1", c)
	}
}

func TestAdvertisement(t *testing.T) {
	r := Router{
		Hardware: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Prefix:   netip.MustParsePrefix("fd07::1/64"),
		DNS:      testLease.DNS,
		Search:   "hutch",
		MTU:      1400,
		Lifetime: RouterLifetime,
	}
	want := []byte{
		134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 1, 2, 0, 0, 0, 0, 1,
		5, 1, 0, 0, 0, 0, 0x05, 0x78,
		3, 4, 64, 0 /* neither on-link nor autonomous */, 0, 0, 0x07, 0x08, 0, 0, 0x07, 0x08, 0, 0, 0, 0,
		0xfd, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		25, 3, 0, 0, 0, 0, 0x07, 0x08, 0xfd, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
		31, 2, 0, 0, 0, 0, 0x07, 0x08, 5, 'h', 'u', 't', 'c', 'h', 0, 0,
	}
	if got := r.Advertisement(); !bytes.Equal(got, want) {
		t.Errorf("\ngot  %v\nwant %v", got, want)
	}
	if got := (Router{Search: "..", MTU: 100}).Advertisement(); len(got) != 16 {
		t.Errorf("without anything sane: %v", got)
	}
}

func TestCheckSolicitation(t *testing.T) {
	ll, nobody, global := netip.MustParseAddr("fe80::1"), netip.IPv6Unspecified(), netip.MustParseAddr("2a00::1")
	source := []byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 7}
	for _, c := range []struct {
		name string
		m    []byte
		from netip.Addr
		ok   bool
	}{
		{"plain", source[:8], ll, true},
		{"with an address", source, ll, true},
		{"from nobody", source[:8], nobody, true},
		{"an address from nobody", source, nobody, false},
		{"from elsewhere", source[:8], global, false},
		{"from no address", source[:8], netip.Addr{}, false},
		{"short", source[:7], ll, false},
		{"option cut", source[:15], ll, false},
		{"option of no length", append(source[:8:8], 1, 0), ll, false},
		{"advertisement", append([]byte{134}, source[1:8]...), ll, false},
	} {
		if err := CheckSolicitation(c.m, c.from); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, k := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeRelease} {
		f.Add(request(f, testMAC, k, dhcpv4.WithClientIP(net.IP{10, 7, 0, 9}), dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, []byte{1, 2, 3})))
		f.Add(request(f, testMAC, k, dhcpv4.WithOption(dhcpv4.OptHostName("x")), dhcpv4.WithBroadcast(true)))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packet []byte) {
		r, err := Answer(packet, lookup)
		if (r == nil) == (err == nil) {
			t.Fatalf("%v with %v", r, err)
		}
		if r == nil {
			return
		}
		if len(r.Packet) > 576 { // what every client takes (RFC 2131, section 2)
			t.Fatalf("answer of %d bytes", len(r.Packet))
		}
		if !bytes.Equal(r.Peer.Hardware, testMAC) || r.Peer.To != testLease.Address4.Addr() && r.Peer.To != broadcast {
			t.Fatalf("answer to %s", &r.Peer)
		}
		got, err := dhcpv4.FromBytes(r.Packet)
		if err != nil {
			t.Fatalf("answer cannot be read: %v", err)
		}
		if !got.YourIPAddr.IsUnspecified() && !got.YourIPAddr.Equal(testLease.Address4.Addr().AsSlice()) {
			t.Fatalf("gave %s", got.YourIPAddr)
		}
	})
}

func FuzzCheckSolicitation(f *testing.F) {
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 7}, []byte(netip.MustParseAddr("fe80::1").AsSlice()))
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 16))
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0, 24, 255}, make([]byte, 4))
	f.Fuzz(func(t *testing.T, m, from []byte) {
		addr, _ := netip.AddrFromSlice(from)
		if CheckSolicitation(m, addr) == nil && !addr.IsUnspecified() && !addr.IsLinkLocalUnicast() {
			t.Fatalf("accepted from %s", addr)
		}
	})
}
