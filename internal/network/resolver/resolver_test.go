package resolver

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name            string
		conf, systemd   string
		own             string
		want, whyHasGot string
	}{
		{"plain", "# c\nnameserver 9.9.9.9\nnameserver 2620:fe::fe\n", "", "", "9.9.9.9 2620:fe::fe", "names them"},
		{"router with a zone", "nameserver fe80::1%eth0\n", "", "", "fe80::1%eth0", "names them"},
		{"stub", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n", "nameserver 192.168.1.1\nnameserver 10.8.0.1\n", "", "127.0.0.53 192.168.1.1 10.8.0.1", "stub; behind it are 2"},
		{"stub alone", "nameserver 127.0.0.53", "", "", "127.0.0.53", "stub; behind it are 0"},
		{"dnsmasq of NetworkManager", "nameserver 127.0.0.1\n", "nameserver 192.168.1.1\n", "", "127.0.0.1", "on the host itself"},
		{"missing file", "", "", "", "127.0.0.1", "nothing names"},
		{"missing file, resolved runs", "", "nameserver 192.168.1.1\n", "", "192.168.1.1", "systemd-resolved knows"},
		{"only our own", "nameserver 10.7.0.1\n", "", "10.7.0.1", "127.0.0.1", "nothing names"},
		{"our own first", "nameserver 10.7.0.1\nnameserver 9.9.9.9\n", "", "10.7.0.1", "9.9.9.9", "names them"},
		{"four", "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n", "", "", "1.1.1.1 1.1.1.2 1.1.1.3", "names them"},
		{"twice", "nameserver 1.1.1.1\nnameserver 1.1.1.1\nnameserver ::ffff:1.1.1.1", "", "", "1.1.1.1", "names them"},
		{"broken lines", " nameserver 1.1.1.1\nnameserver\nnameserverx 1.1.1.1\nnameserver 1.1.1\nnameserver 224.0.0.251\n;nameserver 1.1.1.1\nnameserver\t8.8.8.8 # x\n", "", "", "8.8.8.8", "names them"},
		{"this machine", "nameserver 0.0.0.0\n", "", "", "127.0.0.1", "on the host itself"},
	} {
		f := Facts{ResolvConf: []byte(c.conf), Systemd: []byte(c.systemd)}
		if c.own != "" {
			f.Own = []netip.Addr{netip.MustParseAddr(c.own)}
		}
		got := Decide(f)
		var text []string
		for _, s := range got.Servers {
			if s.Port() != 53 {
				t.Errorf("%s: port %d", c.name, s.Port())
			}
			text = append(text, s.Addr().String())
		}
		if strings.Join(text, " ") != c.want || !strings.Contains(got.Why, c.whyHasGot) {
			t.Errorf("%s: %s (%s); want %s (%s)", c.name, text, got.Why, c.want, c.whyHasGot)
		}
	}
}

func TestFollow(t *testing.T) {
	root := t.TempDir()
	conf := filepath.Join(root, "etc/resolv.conf")
	if err := os.Mkdir(filepath.Dir(conf), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var traced []string
	now := time.Unix(1000, 0)
	f := Follow(root, nil, func(s string) { traced = append(traced, s) })
	f.now = func() time.Time { return now }
	expect := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, s := range f.Servers() {
			got = append(got, s.Addr().String())
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	expect("no file", "127.0.0.1")
	write(conf, "nameserver 1.1.1.1\n")
	expect("within the second", "127.0.0.1")
	now = now.Add(time.Second)
	expect("written", "1.1.1.1")
	write(conf+".new", "nameserver 2.2.2.2\n")
	old, err := os.Stat(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(conf+".new", old.ModTime(), old.ModTime()); err != nil { // the inode alone tells
		t.Fatal(err)
	}
	if err := os.Rename(conf+".new", conf); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	expect("replaced", "2.2.2.2")
	now = now.Add(-time.Hour)
	write(conf, "nameserver 3.3.3.33\n")
	expect("clock gone back", "3.3.3.33")
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", conf); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	expect("dangling link", "127.0.0.1")
	now = now.Add(time.Second)
	expect("the same again", "127.0.0.1")
	if len(traced) != 5 {
		t.Errorf("%d traces, want one per change:\n%s", len(traced), strings.Join(traced, "\n"))
	}
}

func FuzzDecide(f *testing.F) {
	f.Add([]byte("nameserver 127.0.0.53\n"), []byte("nameserver fe80::1%eth0\nnameserver 1.1.1.1"))
	f.Add([]byte("nameserver \x00\nnameserver 1.1.1.1%%\n"), []byte{})
	own := netip.MustParseAddr("10.7.0.1")
	f.Fuzz(func(t *testing.T, conf, systemd []byte) {
		c := Decide(Facts{conf, systemd, []netip.Addr{own}})
		if len(c.Servers) == 0 || len(c.Servers) > 2*maxServers || strings.ContainsAny(c.Why, "\n\r\x1b") {
			t.Fatalf("%q, %v", c.Why, c.Servers)
		}
		for _, s := range c.Servers {
			if !s.IsValid() || s.Addr().Unmap() == own {
				t.Fatalf("%v", s)
			}
		}
	})
}
