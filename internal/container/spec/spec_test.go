package spec

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func wanted() Wanted {
	return Wanted{
		Name: "ff", Rootfs: "/run/hutch/containers/ff/rootfs", Init: []string{"/sbin/init"},
		UIDs:   []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}},
		GIDs:   []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}},
		Memory: 1 << 30, CPUs: 1.5, PIDs: 100, CgroupPath: "/hutch/ff", CgroupType: "cgroup2",
	}
}

func TestBuildPassesItsOwnCheck(t *testing.T) {
	if _, err := Build(wanted()); err != nil {
		t.Fatal(err)
	}
	w := wanted()
	w.Privileged = true
	if _, err := Build(w); err != nil {
		t.Fatal(err)
	}
}

// Each row spoils a good spec in one way; the check must name it.
func TestCheckRefuses(t *testing.T) {
	rows := map[string]func(s *specs.Spec){
		"no user namespace": func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] },
		"another's": func(s *specs.Spec) {
			s.Linux.Namespaces[6].Path = "/proc/1/ns/net"
		},
		"root of the host":     func(s *specs.Spec) { s.Linux.UIDMappings[0].HostID = 0 },
		"out of range":         func(s *specs.Spec) { s.Linux.GIDMappings[0].Size = 1<<32 - 1 },
		"no id mappings":       func(s *specs.Spec) { s.Linux.GIDMappings = nil },
		"CAP_SYS_MODULE":       func(s *specs.Spec) { s.Process.Capabilities.Ambient = []string{"CAP_SYS_MODULE"} },
		"no list of system":    func(s *specs.Spec) { s.Linux.Seccomp = nil },
		"not listed":           func(s *specs.Spec) { s.Linux.Seccomp.DefaultAction = specs.ActAllow },
		"kexec_load is never":  func(s *specs.Spec) { allowCall(s, "kexec_load") },
		"whatever its":         func(s *specs.Spec) { allowCall(s, "socket") },
		"action SCMP_ACT_TRAC": func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Action = specs.ActTrace },
		"/proc/kcore":          func(s *specs.Spec) { s.Linux.MaskedPaths = without(s.Linux.MaskedPaths, "/proc/kcore") },
		"/proc/sys is not":     func(s *specs.Spec) { s.Linux.ReadonlyPaths = without(s.Linux.ReadonlyPaths, "/proc/sys") },
		"is a bind mount": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: "/", Options: []string{"rbind", "nosuid"}})
		},
		"without nosuid":    func(s *specs.Spec) { s.Mounts[0].Options = nil },
		"/sys is writable":  func(s *specs.Spec) { s.Mounts[5].Options = []string{"nosuid"} },
		"devices are not":   func(s *specs.Spec) { s.Linux.Resources.Devices[0].Allow = true },
		"device nodes":      func(s *specs.Spec) { s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/sda"}} },
		"hooks run on":      func(s *specs.Spec) { s.Hooks = &specs.Hooks{} },
		"lacks its linux":   func(s *specs.Spec) { s.Linux = nil },
		"no network namesp": func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[:6] },
	}
	for want, spoil := range rows {
		s, err := Build(wanted())
		if err != nil {
			t.Fatal(err)
		}
		spoil(s)
		if err := Check(s, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", want, err)
		}
	}
}

// What the host's systemd is told must be what runc reads: a D-Bus value of the
// property's type.
func TestScopeIsToldHowToStop(t *testing.T) {
	w := wanted()
	w.StopSignal, w.StopAfter, w.CgroupPath = 37, 20*time.Second, "machine.slice:hutch:ff"
	s, err := Build(w)
	if err != nil {
		t.Fatal(err)
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: "ff", UseSystemdCgroup: true, Spec: s})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	for _, p := range config.Cgroups.SystemdProps {
		got[p.Name] = p.Value.Value()
	}
	if got["KillSignal"] != int32(37) || got["TimeoutStopUSec"] != uint64(20_000_000) {
		t.Errorf("systemd is told %v", got)
	}
}

func TestPrivilegedForgivesTheUserNamespaceAlone(t *testing.T) {
	w := wanted()
	w.Privileged = true
	s, err := Build(w)
	if err != nil {
		t.Fatal(err)
	}
	s.Linux.Seccomp = nil
	if err := Check(s, true); err == nil {
		t.Error("a privileged container without a list of system calls passed")
	}
	s, _ = Build(w)
	if err := Check(s, false); err == nil {
		t.Error("a container without a user namespace passed")
	}
}

func allowCall(s *specs.Spec, name string) {
	s.Linux.Seccomp.Syscalls = append(s.Linux.Seccomp.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow})
}

func without(list []string, gone string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == gone })
}

// The sets cover every 32 bit number but the holes exactly once, whatever stands
// in the upper half of the register.
func TestAllBut32(t *testing.T) {
	sets := allBut32(tiocsti, tioclinux)
	count := func(x uint64) (n int) {
		for _, s := range sets {
			if x&s.mask == s.value {
				n++
			}
		}
		return n
	}
	for _, hole := range []uint64{tiocsti, tioclinux, tiocsti | 1<<32, tioclinux | 0xffff<<40} {
		if count(hole) != 0 {
			t.Errorf("%#x is allowed", hole)
		}
	}
	var size uint64
	for _, s := range sets {
		n := uint64(1)
		for bit := range 32 {
			if s.mask>>bit&1 == 0 {
				n *= 2
			}
		}
		size += n
	}
	if size != 1<<32-2 {
		t.Errorf("the sets hold %d numbers, want %d", size, uint64(1<<32-2))
	}
	for range 10_000 {
		x := rand.Uint64()
		if low := x & (1<<32 - 1); low != tiocsti && low != tioclinux && count(x) != 1 {
			t.Fatalf("%#x is in %d sets", x, count(x))
		}
	}
	for x := uint64(0x5400); x < 0x5500; x++ {
		want := 1
		if x == tiocsti || x == tioclinux {
			want = 0
		}
		if count(x) != want {
			t.Errorf("%#x is in %d sets, want %d", x, count(x), want)
		}
	}
}
