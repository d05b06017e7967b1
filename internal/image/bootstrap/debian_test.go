package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func requireBootstrap(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		t.Skip("needs the program mmdebstrap")
	}
}

func newDest(t *testing.T) string {
	t.Helper()
	dest := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(dest, 0o755); err != nil {
		t.Fatal(err)
	}
	return dest
}

// leftBeside fails when anything but the tree is left, and when a mount or a
// process of the call is.
func leftBeside(t *testing.T, dest string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(dest))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the tree there is %v (%v)", entries, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dest) {
		t.Errorf("a mount is left (%v)", err)
	}
	if pids := processesOf(t, firstID()); len(pids) > 0 {
		t.Errorf("processes are left: %v", pids)
	}
}

// processesOf lists the processes whose uid is in the range that begins with
// first.
func processesOf(t *testing.T, first uint32) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		var st unix.Stat_t
		if e.Name()[0] >= '0' && e.Name()[0] <= '9' && unix.Stat("/proc/"+e.Name(), &st) == nil && st.Uid >= first && st.Uid < first+idCount {
			found = append(found, e.Name())
		}
	}
	return found
}

// firstID is this test process's own, so that its processes can be told from
// those of others that run beside it.
func firstID() uint32 { return DefaultFirstID + uint32(1+os.Getpid()%1000)*idCount }

func optionsFor(mirror string) Options {
	return Options{Release: "bookworm", Mirror: mirror, FirstID: firstID()}
}

func TestFailuresHaveAKindAndARemedy(t *testing.T) {
	requireBootstrap(t)
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	unsigned := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/Release") {
			fmt.Fprint(w, "Origin: Debian\nSuite: stable\nCodename: bookworm\nDate: Sat, 01 Jan 2022 00:00:00 UTC\nComponents: main\nArchitectures: amd64\n")
			return
		}
		http.NotFound(w, r)
	}))
	defer unsigned.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + closed.Addr().String() + "/debian"
	closed.Close()

	for name, c := range map[string]struct {
		change func(o *Options)
		kind   Kind
	}{
		"no such release": {func(o *Options) { o.Release = "nosuch"; o.Mirror = empty.URL + "/debian" }, UnknownRelease},
		"dead mirror":     {func(o *Options) { o.Mirror = dead }, Unreachable},
		"unsigned":        {func(o *Options) { o.Mirror = unsigned.URL + "/debian" }, BadSignature},
		"no keyring":      {func(o *Options) { o.Keyring = "/nonexistent/keyring.gpg" }, NoKeyring},
		"someone's key":   {func(o *Options) { o.Mirror = ""; o.Keyring = otherKeyring(t) }, BadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			dest := newDest(t)
			o := optionsFor(dead)
			c.change(&o)
			_, err := Debian(context.Background(), o, dest)
			e, is := errors.AsType[*Error](err)
			if !is || e.Kind != c.kind || e.Remedy() == "" || strings.ContainsAny(err.Error(), "\n\x1b\r") {
				t.Errorf("got %v, want %s", err, c.kind)
			}
			leftBeside(t, dest)
		})
	}
}

func TestClassify(t *testing.T) {
	for line, want := range map[string]Kind{
		"E: Unable to locate package hutch-has-no-such-package":                               UnknownPackage,
		"Err:1 http://m.example trixie InRelease\tCould not resolve 'm.example'":              Unreachable,
		"E: Release file for http://m.example/InRelease is expired (invalid since 3d)":        Expired,
		"W: GPG error: http://m.example InRelease: signatures couldn't be verified NO_PUBKEY": BadSignature,
		"E: You don't have enough free space in /tmp/x/var/cache/apt/archives/.":              DiskFull,
		"dpkg: error processing package x (--install):":                                       Failed,
		"something \x1b[31m": Failed,
	} {
		err := classify([]string{"I: running", line, "I: cleaning up"}, errors.New("exit status 1"))
		if e, is := errors.AsType[*Error](err); !is || e.Kind != want || strings.ContainsAny(err.Error(), "\x1b\t\n") {
			t.Errorf("%q is %v, want %s", line, err, want)
		}
	}
	// The cause outweighs what it brings about.
	err := classify([]string{"E: Failed to fetch http://m.example/x", "write: No space left on device"}, nil)
	if e, is := errors.AsType[*Error](err); !is || e.Kind != DiskFull {
		t.Errorf("a full disk is %v", err)
	}
}

// otherKeyring is a keyring without Debian's keys: one that is empty.
func otherKeyring(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.gpg")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFullDisk(t *testing.T) {
	requireBootstrap(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	dest := filepath.Join(dir, "tree")
	if err := os.Mkdir(dest, 0o755); err != nil {
		t.Fatal(err)
	}
	o := optionsFor("")
	_, err := Debian(context.Background(), o, dest)
	if e, is := errors.AsType[*Error](err); !is || e.Kind != DiskFull {
		t.Errorf("got %v, want %s", err, DiskFull)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left beside the tree: %v, %v", entries, err)
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	requireBootstrap(t)
	for _, phase := range []string{"starting", "installing"} {
		t.Run(phase, func(t *testing.T) {
			dest := newDest(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			o := optionsFor("")
			reached := false
			o.Progress = func(p Progress) {
				if p.Phase == phase {
					reached = true
					cancel()
				}
			}
			if _, err := Debian(ctx, o, dest); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if !reached {
				t.Errorf("the phase %s was never reached", phase)
			}
			leftBeside(t, dest)
		})
	}
}

func TestOptionsThatWouldInject(t *testing.T) {
	for name, o := range map[string]Options{
		"release option":  {Release: "--mode=root", Keyring: "/k"},
		"release line":    {Release: "a\nb", Keyring: "/k"},
		"release none":    {Keyring: "/k"},
		"package option":  {Release: "sid", Packages: []string{"--hook"}, Keyring: "/k"},
		"package pattern": {Release: "sid", Packages: []string{"?essential"}, Keyring: "/k"},
		"package list":    {Release: "sid", Packages: []string{"a,b"}, Keyring: "/k"},
		"arch":            {Release: "sid", Arch: "amd64,arm64", Keyring: "/k"},
		"mirror scheme":   {Release: "sid", Mirror: "file:///etc", Keyring: "/k"},
		"mirror line":     {Release: "sid", Mirror: "http://x/debian sid main\ndeb", Keyring: "/k"},
		"mirror options":  {Release: "sid", Mirror: "http://x/[trusted=yes]", Keyring: "/k"},
		"keyring":         {Release: "sid", Keyring: "a"},
	} {
		if err := o.check(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := (Options{Release: "sid", Keyring: DefaultKeyring, Mirror: "http://x/debian", Packages: []string{"g++", "x11-apps"}}).check(); err != nil {
		t.Error(err)
	}
}

func TestDressing(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"etc/hostname": "builder", "etc/resolv.conf": "nameserver 10.0.0.1", "etc/apt/apt.conf.d/99mmdebstrap": "x",
		"etc/machine-id": "0123", "var/log/apt/term.log": "x", "run/lock/x": "x", "usr/share/zoneinfo/Europe/Berlin": "TZif",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	// A tree that wants to be written through: the name of a file is a link out.
	outside := filepath.Join(t.TempDir(), "canary")
	if err := errors.Join(os.WriteFile(outside, []byte("alive"), 0o600), os.Symlink(outside, filepath.Join(dir, "etc/hosts"))); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for range 2 { // twice is as good as once
		if err := apply(root, dressing([]string{"deb http://m/debian sid main"}, "Europe/Berlin")); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"etc/apt/sources.list": "deb http://m/debian sid main\n", "etc/resolv.conf": "", "etc/machine-id": "", "etc/hosts": hosts, "etc/timezone": "Europe/Berlin\n",
		} {
			if got, err := root.ReadFile(name); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		for _, name := range []string{"etc/hostname", "etc/apt/apt.conf.d/99mmdebstrap", "var/log/apt/term.log", "run/lock"} {
			if _, err := root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is there (%v)", name, err)
			}
		}
		for name, want := range map[string]string{"etc/localtime": "/usr/share/zoneinfo/Europe/Berlin", "etc/systemd/system/tmp.mount": "/dev/null"} {
			if got, err := root.Readlink(name); err != nil || got != want {
				t.Errorf("%s leads to %q, %v", name, got, err)
			}
		}
	}
	if data, err := os.ReadFile(outside); err != nil || string(data) != "alive" {
		t.Errorf("written through a link: %q, %v", data, err)
	}
	// A folder of the tree that leads out is an error, not a way.
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "etc")), os.Symlink(filepath.Dir(outside), filepath.Join(dir, "etc"))); err != nil {
		t.Fatal(err)
	}
	if err := apply(root, dressing(nil, "")); err == nil {
		t.Error("written through a folder that leads out")
	}
	if entries, err := os.ReadDir(filepath.Dir(outside)); err != nil || len(entries) != 1 {
		t.Errorf("written outside: %v, %v", entries, err)
	}
	for _, zone := range []string{"", "../../etc/passwd", "/etc/passwd", "Europe/Berlin\n", "a//b", "."} {
		if zone != "." && validZone(zone) {
			t.Errorf("zone %q is taken", zone)
		}
	}
}

func TestMeter(t *testing.T) {
	var seen []Progress
	told := watch(strings.NewReader("I: chroot architecture amd64 is equal\r\n\x1b[34mI:\x1b[0m running apt-get update...\r\n"+
		"\x1b[2K              50.00 [======>     ]\r\x1b[2Kdone\r\nI: downloading packages with apt...\r\n\x1b[2Kdownloading:  50.00 [=>]\r"+
		"\x1b[2Kdownloading: 100.00 [===]\rE: something\r\nI: done\r\n"), func(p Progress) { seen = append(seen, p) })
	want := []Progress{{"starting", 0}, {"reading package lists", 1}, {"reading package lists", 5.5}, {"downloading", 10}, {"downloading", 20}, {"downloading", 30}, {"storing", 99}}
	if !slices.Equal(seen, want) {
		t.Errorf("seen %v", seen)
	}
	if !slices.Contains(told, "E: something") || slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "[") }) {
		t.Errorf("told %q", told)
	}
}
