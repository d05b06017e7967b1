package firewall

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
)

var update = flag.Bool("update", false, "write the golden files anew")

func wanted(ports ...network.Port) network.Wanted {
	p := netip.MustParsePrefix
	return network.Wanted{
		Subnets: network.Subnets{V4: p("10.87.3.0/24"), V6: p("fd12:3456:789a::/64")},
		Outside: network.Look(network.Host{
			Addresses: []network.HostAddress{{Interface: "eth0", Prefix: p("192.168.50.2/24")}, {Interface: "eth0", Prefix: p("2a01:4f8:50::2/64")}},
			Routes: []network.Route{
				{Destination: p("0.0.0.0/0"), Hops: []network.Hop{{Interface: "eth0", Gateway: netip.MustParseAddr("192.168.50.1")}}},
				{Destination: p("::/0"), Hops: []network.Hop{{Interface: "eth0", Gateway: netip.MustParseAddr("fe80::1")}}},
				{Destination: p("7.7.7.0/24"), Hops: []network.Hop{{Interface: "tun0"}}},
			},
		}),
		Ports: ports,
	}
}

func port(n string, number uint32) network.Port {
	return network.NewPort(wanted().Subnets, strings.Repeat(n, 32), "c"+n, number, api.Internet)
}

func namespace(t *testing.T) *os.File {
	t.Helper()
	testenv.RequireRoot(t)
	testenv.RequireTools(t, "nft")
	ns, err := testenv.NewNamespace(unix.CLONE_NEWNET)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

var elementLists = regexp.MustCompile(`elements = \{([^}]*)\}`)

var counters = regexp.MustCompile(`counter packets \d+ bytes \d+`)

func ruleset(t *testing.T, ns *os.File) string {
	t.Helper()
	var out []byte
	err := sys.InNamespace(ns, unix.CLONE_NEWNET, func() (err error) {
		out, err = exec.Command("nft", "list", "ruleset").CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Sets without ranges come in whatever order their hash has.
	text := counters.ReplaceAllString(string(out), "counter")
	return elementLists.ReplaceAllStringFunc(text, func(list string) string {
		all := strings.Split(strings.Trim(elementLists.FindStringSubmatch(list)[1], " \n\t"), ",")
		for i := range all {
			all[i] = strings.TrimSpace(all[i])
		}
		slices.Sort(all)
		return "elements = {\n\t\t\t" + strings.Join(all, ",\n\t\t\t") + "\n\t\t}"
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the rules are not those of %s; look at the difference and run the test with -update where it is meant:\n%s", file, got)
	}
}

func TestRouterRules(t *testing.T) {
	ns := namespace(t)
	r, err := NewRouter(ns, "up", "br")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	apply := func(r *Router, w network.Wanted) string {
		t.Helper()
		if err := r.Apply(w); err != nil {
			t.Fatal(err)
		}
		return ruleset(t, ns)
	}
	a, b := port("a", 10), port("b", 11)
	b.Policy = api.None
	full := apply(r, wanted(a, b))
	golden(t, "router.nft", full)
	if again := apply(r, wanted(a, b)); again != full {
		t.Errorf("applied twice:\n%s", again)
	}
	if empty := apply(r, wanted()); strings.Contains(empty, network.PortName(a.ID)) || strings.Contains(empty, a.Address4.String()) {
		t.Errorf("a port that is gone is still spoken of:\n%s", empty)
	}
	other, err := NewRouter(ns, "up", "br") // a hutchd that comes after one that was killed
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if again := apply(other, wanted(a, b)); again != full {
		t.Errorf("from another state:\n%s", again)
	}
}

func TestHostRules(t *testing.T) {
	ns := namespace(t)
	err := sys.InNamespace(ns, unix.CLONE_NEWNET, func() error {
		h, err := NewHost()
		if err != nil {
			return err
		}
		defer h.Close()
		w := wanted()
		s := HostState{Subnets: w.Subnets, Outside: w.Outside, Guard4: []string{"eth0"}, Guard6: []string{"eth0"}}
		apply := func(s HostState, want bool) {
			t.Helper()
			if wrote, err := h.Apply(s); err != nil || wrote != want {
				t.Errorf("wrote %v, want %v: %v", wrote, want, err)
			}
		}
		before := ruleset(t, ns)
		apply(s, true)
		full := ruleset(t, ns)
		golden(t, "host.nft", full)
		apply(s, false)
		for _, damage := range []string{
			"flush ruleset", "delete table inet hutch", "flush chain inet hutch input", "insert rule inet hutch forward accept",
		} {
			if out, err := exec.Command("nft", strings.Fields(damage)...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", damage, err, out)
			}
			apply(s, true)
			if got := ruleset(t, ns); got != full {
				t.Errorf("after %s:\n%s", damage, got)
			}
		}
		s.Outside.Uplinks4 = []string{"wlan0"}
		apply(s, true)
		if err := h.Remove(); err != nil {
			t.Error(err)
		}
		if after := ruleset(t, ns); after != before {
			t.Errorf("removed, but:\n%s", after)
		}
		return h.Remove()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRulesDoNotGrowWithPorts(t *testing.T) {
	ns := namespace(t)
	r, err := NewRouter(ns, "up", "br")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	count := func(ports ...network.Port) int {
		if err := r.Apply(wanted(ports...)); err != nil {
			t.Fatal(err)
		}
		return strings.Count(ruleset(t, ns), " accept\n")
	}
	var many []network.Port
	for i := range uint32(200) {
		p := port("a", 10+i)
		p.Link = p.Link[:10] + string(rune('a'+i/26)) + string(rune('a'+i%26))
		many = append(many, p)
	}
	if few, all := count(many[0]), count(many...); few != all || few == 0 {
		t.Errorf("%d rules for one port, %d for 200", few, all)
	}
}
