package dns

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name  string
		qtype uint16
		want  class
		label string
		addr  string
	}{
		{"debian.org.", dns.TypeA, forward, "", ""},
		{"DeBian.ORG.", dns.TypeAAAA, forward, "", ""},
		{"_ldap._tcp.example.com.", dns.TypeSRV, forward, "", ""},
		{"local.example.com.", dns.TypeA, forward, "", ""},
		{"notlocal.", dns.TypeA, own, "notlocal", ""},
		{"ff.", dns.TypeA, own, "ff", ""},
		{"FF.Hutch.", dns.TypeA, own, "ff", ""},
		{"hutch.", dns.TypeA, own, "", ""},
		{"a.ff.hutch.", dns.TypeA, denied, "", ""},
		{"nothutch.com.", dns.TypeA, forward, "", ""},
		{"printer.local.", dns.TypeA, denied, "", ""},
		{"nas.lan.", dns.TypeA, denied, "", ""},
		{"x.home.arpa.", dns.TypeA, denied, "", ""},
		{"metadata.google.internal.", dns.TypeA, denied, "", ""},
		{"fritz.box.", dns.TypeA, denied, "", ""},
		{"wpad.example.com.", dns.TypeA, denied, "", ""},
		{"WPAD.com.", dns.TypeA, denied, "", ""},
		{"isatap.example.com.", dns.TypeA, denied, "", ""},
		{"wpad.", dns.TypeA, own, "wpad", ""}, // refused by Reserved
		{"localhost.", dns.TypeA, loopback, "", ""},
		{"x.localhost.", dns.TypeA, loopback, "", ""},
		{"_dns.resolver.arpa.", dns.TypeSVCB, empty, "", ""},
		{`a\.lan.example.com.`, dns.TypeA, denied, "", ""},
		{`x\000.example.com.`, dns.TypeA, denied, "", ""},
		{".", dns.TypeNS, forward, "", ""},
		{".", dns.TypeA, empty, "", ""},
		{"1.1.168.192.in-addr.arpa.", dns.TypePTR, reverse, "", "192.168.1.1"},
		{"168.192.in-addr.arpa.", dns.TypeSOA, reverse, "", ""},
		{"192.in-addr.arpa.", dns.TypeNS, reverse, "", ""},
		{"in-addr.arpa.", dns.TypeNS, forward, "", ""},
		{"b._dns-sd._udp.0.1.168.192.in-addr.arpa.", dns.TypePTR, reverse, "", ""},
		{"1.0/25.1.168.192.in-addr.arpa.", dns.TypePTR, reverse, "", ""},
		{"8.8.8.8.in-addr.arpa.", dns.TypePTR, either, "", "8.8.8.8"},
		{"8.in-addr.arpa.", dns.TypeNS, either, "", ""},
		{"01.8.8.8.in-addr.arpa.", dns.TypePTR, either, "", ""},
		{"1.64.100.in-addr.arpa.", dns.TypePTR, reverse, "", ""},
		{"1.0.0.127.in-addr.arpa.", dns.TypePTR, reverse, "", "127.0.0.1"},
		{strings.Repeat("0.", 30) + "d.f.ip6.arpa.", dns.TypePTR, reverse, "", "fd00::"},
		{"8.e.f.ip6.arpa.", dns.TypeNS, reverse, "", ""},
		{"d.f.ip6.arpa.", dns.TypeNS, reverse, "", ""},
		{"f.ip6.arpa.", dns.TypeNS, reverse, "", ""},
		{strings.Repeat("0.", 28) + "0.0.a.2.ip6.arpa.", dns.TypePTR, either, "", "2a00::"},
		{"8.b.d.0.1.0.0.2.ip6.arpa.", dns.TypeNS, reverse, "", ""},
		{"2.0.0.2.ip6.arpa.", dns.TypeNS, reverse, "", ""},
	} {
		got := classify(c.name, c.qtype, "hutch")
		want := verdict{class: c.want, label: c.label}
		if c.addr != "" {
			want.addr = netip.MustParseAddr(c.addr)
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
}

func TestGlobal(t *testing.T) {
	yes := "8.8.8.8 1.1.1.1 100.128.0.1 172.32.0.1 192.0.1.1 2a00:1450::1 2001:4860::1 64:ff9b::808:808 23.45.60.1"
	no := "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.8.8.8 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 " +
		"192.168.1.1 198.18.0.1 198.19.255.255 203.0.113.1 224.0.0.251 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:8.8.8.8 ::ffff:10.0.0.1 " +
		"::10.0.0.1 fe80::1 fec0::1 fc00::1 fd07::1 ff02::1 100::1 2001::1 2001:db8::1 2002:a00:1::1 3fff::1 4000::1 " +
		"64:ff9b::a00:1 64:ff9b::c0a8:101 64:ff9b:1::808:808 64:ff9b::7f00:1"
	for _, s := range strings.Fields(yes) {
		if !global(netip.MustParseAddr(s)) {
			t.Errorf("%s is not taken as global", s)
		}
	}
	for _, s := range strings.Fields(no) {
		if global(netip.MustParseAddr(s)) {
			t.Errorf("%s is taken as global", s)
		}
	}
}

// message has the given records as its answer.
func message(t testing.TB, answer ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion("evil.example.", dns.TypeA)
	m.Response, m.AuthenticatedData = true, true
	for _, text := range answer {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

func TestStrip(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"evil.example. 60 IN A 8.8.8.8"}, []string{"evil.example. 60 IN A 8.8.8.8"}},
		{[]string{"evil.example. 60 IN A 192.168.1.1", "evil.example. 60 IN A 8.8.8.8", "evil.example. 60 IN A 0.0.0.0"}, []string{"evil.example. 60 IN A 8.8.8.8"}},
		{[]string{"evil.example. 60 IN AAAA ::1", "evil.example. 60 IN AAAA ::ffff:127.0.0.1", "evil.example. 60 IN AAAA fd00::1"}, nil},
		{[]string{"evil.example. 60 IN CNAME ff.hutch."}, nil},
		{[]string{"evil.example. 60 IN CNAME localhost.", "evil.example. 60 IN CNAME router."}, nil},
		{[]string{"evil.example. 60 IN CNAME nas.lan."}, nil},
		{[]string{"evil.example. 60 IN CNAME cdn.example.net."}, []string{"evil.example. 60 IN CNAME cdn.example.net."}},
		{[]string{`evil.example. 60 IN HTTPS 1 . alpn="h2" ipv4hint="10.0.0.1,8.8.8.8" ipv6hint="fe80::1"`}, []string{`evil.example. 60 IN HTTPS 1 . alpn="h2" ipv4hint="8.8.8.8"`}},
		{[]string{`evil.example. 60 IN SVCB 1 x.example. mandatory="ipv4hint" ipv4hint="10.0.0.1"`}, []string{`evil.example. 60 IN SVCB 1 x.example.`}},
		{[]string{`evil.example. 60 IN HTTPS 0 ff.hutch.`}, nil},
		{[]string{"evil.example. 60 CH A 8.8.8.8"}, nil},
		{[]string{"evil.example. 60 IN A 10.0.0.1", "evil.example. 60 IN RRSIG A 8 2 60 20300101000000 20200101000000 1 example. AAAA"}, nil},
		{[]string{"evil.example. 60 IN MX 10 mail.example."}, []string{"evil.example. 60 IN MX 10 mail.example."}},
	} {
		m := message(t, c.in...)
		strip(m, "hutch")
		want := message(t, c.want...)
		if len(m.Answer) != len(want.Answer) {
			t.Errorf("%q: left %v", c.in, m.Answer)
			continue
		}
		for i, rr := range m.Answer {
			if rr.String() != want.Answer[i].String() {
				t.Errorf("%q: left %s, want %s", c.in, rr, want.Answer[i])
			}
		}
		if len(c.in) != len(c.want) && m.AuthenticatedData {
			t.Errorf("%q: stripped and still called authentic", c.in)
		}
	}
}

func TestReserved(t *testing.T) {
	for _, s := range strings.Fields("wpad ISATAP localhost gateway _gateway _x") {
		if !Reserved(s) {
			t.Errorf("%s is free", s)
		}
	}
	if Reserved("ff") {
		t.Error("ff is reserved")
	}
}

func TestCache(t *testing.T) {
	c := newCache()
	now := time.Unix(1000, 0)
	a, b := netip.MustParseAddr("10.7.0.9"), netip.MustParseAddr("10.7.0.10")
	k := key{client: a, name: "x.example.", qtype: dns.TypeA}
	c.put(k, message(t, "evil.example. 60 IN A 8.8.8.8", "evil.example. 10 IN A 8.8.4.4"), now)
	got := c.get(k, now.Add(9*time.Second))
	if got == nil || got.Answer[0].Header().Ttl != 51 || got.Answer[1].Header().Ttl != 1 {
		t.Fatalf("after 9 s: %v", got)
	}
	if c.get(key{client: b, name: "x.example.", qtype: dns.TypeA}, now) != nil {
		t.Error("another container can read what this one looked up")
	}
	if c.get(k, now.Add(10*time.Second)) != nil {
		t.Error("kept past the shortest time")
	}
	no := message(t)
	c.put(k, no, now)
	if c.get(k, now) != nil {
		t.Error("a no without an SOA was kept")
	}
	soa, _ := dns.NewRR("example. 30 IN SOA a. b. 1 2 3 4 20")
	no.Ns = []dns.RR{soa}
	c.put(k, no, now)
	if c.get(k, now.Add(19*time.Second)) == nil || c.get(k, now.Add(20*time.Second)) != nil {
		t.Error("a no was not kept for the SOA's 20 s")
	}
	for i := range 100_000 {
		k.name = strings.Repeat("x", i%50) + string(rune('a'+i%26)) + ".example."
		k.qtype = uint16(i)
		c.put(k, message(t, "evil.example. 60 IN A 8.8.8.8"), now)
		if c.bytes > cacheBytes {
			t.Fatalf("%d bytes", c.bytes)
		}
	}
	sum := 0
	for _, el := range c.entries {
		sum += el.Value.(*entry).cost()
	}
	if sum != c.bytes || len(c.entries) != c.order.Len() || sum < cacheBytes/2 {
		t.Errorf("%d entries, %d in order, %d bytes counted as %d", len(c.entries), c.order.Len(), sum, c.bytes)
	}
}

func TestGauge(t *testing.T) {
	g := newGauge(2, 3)
	a, b := netip.MustParseAddr("10.7.0.9"), netip.MustParseAddr("10.7.0.10")
	//lint:ignore SA4000 each call takes one more
	if !g.enter(a) || !g.enter(a) || g.enter(a) || !g.full(a) {
		t.Error("not two for a")
	}
	if !g.enter(b) || g.enter(b) {
		t.Error("not three in all")
	}
	g.leave(a)
	g.leave(a)
	g.leave(b)
	if g.total != 0 || len(g.by) != 0 {
		t.Errorf("%d, %v left", g.total, g.by)
	}
}
