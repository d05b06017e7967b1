package netd

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/testenv"
)

func TestParseConfig(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "",
		`subnet4 = "10.9.9.0/24"`:     "",
		`subnet6 = "fd00:1:2:3::/64"`: "",
		`subnet = "10.9.9.0/24"`:      `line 1, column 1: key "subnet" is not known`,
		"\n\nsubnet4 = 5":             "line 3",
		`subnet4 = "10.9.9.0"`:        `subnet4 = "10.9.9.0": must be a network`,
		`subnet4 = "10.9.9.1/24"`:     "must be an IPv4 network",
		`subnet4 = "8.8.8.0/24"`:      "must be private",
		`subnet6 = "2001:4860::/64"`:  "must be within fd00::/8",
		"subnet4 = \"10.9.9.0/24\" x": "line 1",
		`subnet4 = "fd00::/64"`:       "must be an IPv4 network",
	} {
		_, err := ParseConfig([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`subnet4 = "10.9.9.0/24"`))
	f.Add([]byte("[a]\nb = 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err == nil && c.Subnet4.IsValid() && !c.Subnet4.Addr().Is4() {
			t.Errorf("%q gave %v", data, c)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"version":1,"op":"attach","attach":{"id":"x","name":"y","policy":"internet"}}`), 1)
	f.Add([]byte(`{"version":1,"op":"list"}`), 0)
	f.Add([]byte(`{"version":1,"op":"detach","id":"00"}`), 0)
	f.Add([]byte(`{"version":1,"op":"attach"}`), 1)
	f.Add([]byte(`{}{}`), 0)
	f.Fuzz(func(t *testing.T, data []byte, files int) {
		r, err := parseRequest(data, files)
		if err == nil && r.Op == api.OpAttach && (r.Attach == nil || files != 1) {
			t.Errorf("%q with %d descriptors passed", data, files)
		}
	})
}

func TestChooseSubnets(t *testing.T) {
	p := netip.MustParsePrefix
	book := network.Subnets{V4: p("10.50.0.0/24"), V6: p("fd01:2:3::/64")}
	for name, c := range map[string]struct {
		config Config
		inUse  bool
		taken  []netip.Prefix
		want4  string
	}{
		"those of the book":              {Config{}, false, nil, "10.50.0.0/24"},
		"the configured one":             {Config{Subnet4: p("10.60.0.0/24")}, false, nil, "10.60.0.0/24"},
		"in use, whatever is configured": {Config{Subnet4: p("10.60.0.0/24")}, true, nil, "10.50.0.0/24"},
		"in use, whatever is taken":      {Config{}, true, []netip.Prefix{p("10.50.0.0/16")}, "10.50.0.0/24"},
	} {
		got, err := chooseSubnets(c.config, book, c.inUse, c.taken, "seed")
		if err != nil || got.V4.String() != c.want4 || got.V6 != book.V6 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	got, err := chooseSubnets(Config{}, book, false, []netip.Prefix{p("10.50.0.0/16")}, "seed")
	if err != nil || got.V4.Overlaps(p("10.50.0.0/16")) {
		t.Errorf("taken by now: %v, %v", got, err)
	}
}

// The six cases of hutchd's door, as root and as another user.
func TestCheckNamespace(t *testing.T) {
	testenv.RequireRoot(t)
	router, err := testenv.NewNamespace(unix.CLONE_NEWNET)
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	roots, err := testenv.NewNamespace(unix.CLONE_NEWNET)
	if err != nil {
		t.Fatal(err)
	}
	defer roots.Close()
	child := func(uid int) *os.File {
		c := exec.Command("sleep", "infinity")
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: ids, GidMappings: ids,
			Credential: nil}
		if uid != 0 { // made by that user, so owned by it
			c = exec.Command("unshare", "-rn", "sleep", "infinity")
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Process.Kill(); c.Wait() })
		own, err := os.Readlink("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("/proc/%d/ns/net", c.Process.Pid)
		for {
			if link, err := os.Readlink(path); err == nil && link != own {
				break
			}
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	open := func(path string) *os.File {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, c := range []struct {
		what string
		f    *os.File
		uid  uint32
		want error
	}{
		{"root's container", child(0), 0, nil},
		{"root's privileged container", roots, 0, nil},
		{"a user's container", child(12345), 12345, nil},
		{"a user's container, asked for by root", child(12345), 0, nil},
		{"the host's", open("/proc/thread-self/ns/net"), 0, errOwnNetns},
		{"the host's, asked for by a user", open("/proc/thread-self/ns/net"), 12345, errOwnNetns},
		{"the router's", router, 0, errOwnNetns},
		{"one of root's, asked for by a user", roots, 12345, errHostsNetns},
		{"root's container, asked for by a user", child(0), 12345, errOthers},
		{"another user's", child(12346), 12345, errOthers},
		{"a file", open("/etc/passwd"), 0, errNoNetns},
		{"a user namespace", open("/proc/self/ns/user"), 0, errNoNetns},
	} {
		if _, err := checkNamespace(c.f, router, c.uid); err != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}
