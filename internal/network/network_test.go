package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestChooseSubnet4(t *testing.T) {
	for name, c := range map[string]struct {
		taken []string
		want  string // the network it must lie in
		err   error
	}{
		"nothing taken":          {nil, "10.0.0.0/8", nil},
		"a default route":        {[]string{"0.0.0.0/0"}, "10.0.0.0/8", nil},
		"halves of a default":    {[]string{"0.0.0.0/1", "128.0.0.0/1"}, "10.0.0.0/8", nil},
		"a VPN over 10/8":        {[]string{"10.0.0.0/8"}, "172.16.0.0/12", nil},
		"and over 172.16/12":     {[]string{"10.0.0.0/8", "172.16.0.0/12"}, "192.168.128.0/17", nil},
		"only a well-known left": {[]string{"10.0.0.0/8", "172.16.0.0/12", "192.168.128.0/17"}, "192.168.0.0/17", nil},
		"all":                    {[]string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}, "", ErrNoSubnet},
	} {
		t.Run(name, func(t *testing.T) {
			taken := prefixes(c.taken...)
			for seed := range 50 {
				got, err := ChooseSubnet4(taken, fmt.Sprint(seed))
				if !errors.Is(err, c.err) {
					t.Fatalf("error %v, want %v", err, c.err)
				}
				if c.err != nil {
					continue
				}
				if in := netip.MustParsePrefix(c.want); !in.Overlaps(got) || got.Bits() != 24 {
					t.Fatalf("%v, want a /24 in %v", got, in)
				}
				if err := (Subnets{got, NewSubnet6([5]byte{1})}).Check(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestSubnetsCheck(t *testing.T) {
	for _, bad := range []Subnets{
		{},
		{netip.MustParsePrefix("8.8.8.0/24"), NewSubnet6([5]byte{})},
		{netip.MustParsePrefix("10.0.0.1/24"), NewSubnet6([5]byte{})},
		{netip.MustParsePrefix("10.0.0.0/8"), NewSubnet6([5]byte{})},
		{netip.MustParsePrefix("10.0.0.0/30"), NewSubnet6([5]byte{})},
		{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2000::/64")},
		{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/48")},
	} {
		if bad.Check() == nil {
			t.Errorf("%v passed", bad)
		}
	}
}

func TestLook(t *testing.T) {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	h := Host{
		Addresses: []HostAddress{
			{"eth0", p("192.168.50.2/24")},
			{"eth0", p("23.45.60.2/24")},
			{"eth0", p("2a01:4f8:50::2/64")},
			{"cloud", p("5.6.7.8/32")},
		},
		Routes: []Route{
			{p("0.0.0.0/0"), Forwarded, []Hop{{"eth0", a("192.168.50.1")}}},
			{p("::/0"), Forwarded, []Hop{{"eth0", a("fe80::1")}}},
			{p("::/0"), Refused, []Hop{{"lo", netip.Addr{}}}},
			{p("0.0.0.0/0"), Forwarded, []Hop{{"cloud", a("5.9.9.9")}, {"ppp0", netip.Addr{}}}},
			{p("11.22.0.0/16"), Forwarded, []Hop{{"tun0", netip.Addr{}}}},
			{p("77.7.0.0/16"), Refused, nil},
			{p("44.0.0.0/24"), Delivered, []Hop{{"lo", netip.Addr{}}}},
		},
		MTU: map[string]int{"eth0": 1500, "ppp0": 1492, "cloud": 9000},
	}
	o := Look(h)
	if want := []string{"cloud", "eth0", "ppp0"}; !slices.Equal(o.Uplinks4, want) || !slices.Equal(o.Uplinks(), want) {
		t.Errorf("uplinks %v %v, want %v", o.Uplinks4, o.Uplinks(), want)
	}
	if !slices.Equal(o.Uplinks6, []string{"eth0"}) || !slices.Equal(o.Direct4, []string{"ppp0"}) || o.MTU != 1492 {
		t.Errorf("%+v", o)
	}
	closed := func(s string) bool {
		in := func(r Range) bool { return r.Contains(a(s)) }
		return slices.ContainsFunc(o.Closed4, in) || slices.ContainsFunc(o.Closed6, in)
	}
	for _, s := range []string{"192.168.50.10", "23.45.60.10", "5.6.7.8", "5.9.9.9", "11.22.0.5", "77.7.1.1", "44.0.0.9",
		"10.1.1.1", "100.64.0.1", "169.254.169.254", "127.0.0.1", "224.0.0.251", "255.255.255.255", "0.0.0.0",
		"2a01:4f8:50::99", "fe80::1", "ff02::1", "fd00::1", "64:ff9b::1", "2002:102:304::1", "2001::1", "2001:db8::1", "::1", "::ffff:8.8.8.8"} {
		if !closed(s) {
			t.Errorf("%s is open", s)
		}
	}
	for _, s := range []string{"93.184.216.34", "9.9.9.9", "11.23.0.1", "223.255.255.255", "2a00:1450::34", "2600::1"} {
		if closed(s) {
			t.Errorf("%s is closed", s)
		}
	}
	h.Routes = h.Routes[4:]
	if o := Look(h); len(o.Closed4) != 1 || len(o.Closed6) != 1 || !o.Closed4[0].Contains(a("9.9.9.9")) || !o.Closed6[0].Contains(a("2600::1")) {
		t.Errorf("without a default route: %v %v, want all closed", o.Closed4, o.Closed6)
	}
}

func TestLookWithHalvesOfADefaultRoute(t *testing.T) {
	p := netip.MustParsePrefix
	tun := []Hop{{"tun0", netip.Addr{}}}
	o := Look(Host{Routes: []Route{
		{p("0.0.0.0/1"), Forwarded, tun}, {p("128.0.0.0/1"), Forwarded, tun},
		{p("2000::/4"), Forwarded, tun}, {p("3000::/4"), Forwarded, tun}, {p("fc00::/7"), Forwarded, tun},
	}})
	if !slices.Equal(o.Uplinks4, []string{"tun0"}) || !slices.Equal(o.Uplinks6, []string{"tun0"}) {
		t.Errorf("uplinks %v %v, want tun0", o.Uplinks4, o.Uplinks6)
	}
}

func TestRanges(t *testing.T) {
	for want, in := range map[string][]string{
		"10.0.0.0-10.0.1.255":                            {"10.0.1.0/24", "10.0.0.0/24"},
		"10.0.0.0-10.255.255.255":                        {"10.9.0.0/16", "10.0.0.0/8", "10.9.9.9/32"},
		"1.0.0.0-1.0.0.0 1.0.0.2-1.0.0.2":                {"1.0.0.2/32", "1.0.0.0/32"},
		"0.0.0.0-255.255.255.255":                        {"0.0.0.0/0", "240.0.0.0/4", "255.255.255.255/32"},
		"8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": {"8000::/1", "ff02::/16"},
	} {
		var got []string
		for _, r := range Ranges(prefixes(in...)) {
			got = append(got, fmt.Sprintf("%v-%v", r.First, r.Last))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%v: %s, want %s", in, s, want)
		}
	}
}

func TestAddressBook(t *testing.T) {
	b := AddressBook{Subnets: Subnets{netip.MustParsePrefix("10.9.9.0/28"), NewSubnet6([5]byte{1})}}
	seen := map[uint32]bool{}
	for i := range 12 { // 16 less network, gateway, link and broadcast
		id := fmt.Sprintf("%032x", i)
		n, taken, err := b.Number(id)
		if err != nil || !taken || seen[n] || n < 2 || n > 13 {
			t.Fatalf("%d: number %d taken %v: %v", i, n, taken, err)
		}
		seen[n] = true
		if again, taken, _ := b.Number(id); again != n || taken {
			t.Fatalf("%d: number %d, then %d", i, n, again)
		}
	}
	if _, _, err := b.Number(strings.Repeat("f", 32)); err == nil {
		t.Fatal("a 13th number of 12")
	}
}

func TestMACAndNames(t *testing.T) {
	a, b := MAC(strings.Repeat("a", 32)), MAC(strings.Repeat("b", 32))
	if a[0]&3 != 2 || b[0]&3 != 2 || a.String() == b.String() {
		t.Errorf("%v %v", a, b)
	}
	if l := LinkLocal([]byte{2, 0x11, 0x22, 0x33, 0x44, 0x55}); l.String() != "fe80::11:22ff:fe33:4455" {
		t.Error(l)
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a.b", "a\n", "é", "wpad", "localhost", strings.Repeat("a", 64), "*"} {
		if CheckName(bad) == nil {
			t.Errorf("name %q passed", bad)
		}
	}
	for _, bad := range []string{"", "../../../../../../../etc/passwd..", strings.Repeat("A", 32), strings.Repeat("a", 33)} {
		if CheckID(bad) == nil {
			t.Errorf("id %q passed", bad)
		}
	}
	if CheckName("ff-2") != nil || CheckID(strings.Repeat("0a", 16)) != nil {
		t.Error("a good one refused")
	}
}
