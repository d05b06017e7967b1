package api

import (
	"net/netip"
	"strings"
	"testing"
)

func TestResolvConf(t *testing.T) {
	l := Lease{DNS: []netip.Addr{netip.MustParseAddr("10.7.0.1"), {}, netip.MustParseAddr("fd07::1")}, Search: "hutch"}
	const want = "nameserver 10.7.0.1\nnameserver fd07::1\nsearch hutch\noptions edns0\n"
	if _, got, _ := strings.Cut(string(ResolvConf(l)), "\n"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, search := range []string{"", "a b", "x\nnameserver 1.1.1.1", "-x", "a..b", strings.Repeat("a", 64), "ü"} {
		if got := string(ResolvConf(Lease{Search: search})); strings.Contains(got, "search") || strings.Contains(got, "nameserver") {
			t.Errorf("search %q: %q", search, got)
		}
	}
}

func TestHosts(t *testing.T) {
	l := Lease{Address4: netip.MustParsePrefix("10.7.0.9/24"), Address6: netip.MustParsePrefix("fd07::9/64"), Search: "hutch"}
	if got := string(Hosts(l, "ff")); !strings.HasSuffix(got, "\n10.7.0.9\tff.hutch ff\nfd07::9\tff.hutch ff\n") {
		t.Errorf("got %q", got)
	}
	if got := string(Hosts(Lease{}, "ff")); !strings.HasSuffix(got, "\n127.0.1.1\tff\n") {
		t.Errorf("without a network: %q", got)
	}
	if got := string(Hosts(l, "x\n1.2.3.4 debian.org")); strings.Contains(got, "debian") {
		t.Errorf("got %q", got)
	}
}
