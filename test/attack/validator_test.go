package attack

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hutch-project/hutch/internal/container/spec"
)

func soundSpec(t *testing.T) *specs.Spec {
	t.Helper()
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100_000, Size: 65_536}}
	s, err := spec.Build(spec.Wanted{
		Name: "ff", Rootfs: "/run/hutch/rootfs", Init: []string{"/sbin/init"}, UIDs: ids, GIDs: ids,
		Memory: 1 << 30, PIDs: 100, CgroupPath: "/hutch/ff", CgroupType: "cgroup2",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A spec may come from any path (a copy, an import, a key that was left out): whatever
// was done to it, alone or with others, the one validator refuses it (45).
func TestValidator(t *testing.T) {
	pick := func(n int) int { return rand.IntN(n) }
	spoils := map[string]func(*specs.Spec){
		"namespace left out": func(s *specs.Spec) {
			i := pick(len(s.Linux.Namespaces))
			s.Linux.Namespaces = append(s.Linux.Namespaces[:i], s.Linux.Namespaces[i+1:]...)
		},
		"another's namespace": func(s *specs.Spec) { s.Linux.Namespaces[pick(len(s.Linux.Namespaces))].Path = "/proc/1/ns/x" },
		"capability": func(s *specs.Spec) {
			bad := []string{"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_SYSLOG", "CAP_BPF", "CAP_PERFMON", "CAP_MAC_ADMIN", "CAP_EVIL", ""}[pick(9)]
			c := s.Process.Capabilities
			set := []*[]string{&c.Bounding, &c.Effective, &c.Permitted, &c.Inheritable, &c.Ambient}[pick(5)]
			*set = append(append([]string{}, *set...), bad)
		},
		"no seccomp":          func(s *specs.Spec) { s.Linux.Seccomp = nil },
		"seccomp allows rest": func(s *specs.Spec) { s.Linux.Seccomp.DefaultAction = specs.ActAllow },
		"seccomp allows one": func(s *specs.Spec) {
			s.Linux.Seccomp.Syscalls = append(s.Linux.Seccomp.Syscalls, specs.LinuxSyscall{
				Names: []string{spec.Forbidden[pick(len(spec.Forbidden))]}, Action: specs.ActAllow})
		},
		"seccomp allows all sockets": func(s *specs.Spec) {
			s.Linux.Seccomp.Syscalls = append(s.Linux.Seccomp.Syscalls, specs.LinuxSyscall{Names: []string{[]string{"socket", "ioctl"}[pick(2)]}, Action: specs.ActAllow})
		},
		"seccomp notifies": func(s *specs.Spec) { s.Linux.Seccomp.Syscalls[0].Action = specs.ActNotify },
		"unmasked": func(s *specs.Spec) {
			i := pick(len(s.Linux.MaskedPaths))
			s.Linux.MaskedPaths = append(append([]string{}, s.Linux.MaskedPaths[:i]...), s.Linux.MaskedPaths[i+1:]...)
		},
		"writable": func(s *specs.Spec) {
			i := pick(len(s.Linux.ReadonlyPaths))
			s.Linux.ReadonlyPaths = append(append([]string{}, s.Linux.ReadonlyPaths[:i]...), s.Linux.ReadonlyPaths[i+1:]...)
		},
		"bind mount": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "bind", Source: "/", Options: []string{"rbind", "nosuid"}})
		},
		"a bind mount by option": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "none", Source: "/", Options: []string{"bind", "nosuid"}})
		},
		"suid mount": func(s *specs.Spec) { s.Mounts[pick(len(s.Mounts))].Options = []string{"nodev"} },
		"host root mapped": func(s *specs.Spec) {
			s.Linux.UIDMappings = append(s.Linux.UIDMappings, specs.LinuxIDMapping{ContainerID: 70_000, HostID: 0, Size: 1})
		},
		"mapping past the end": func(s *specs.Spec) {
			s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1<<32 - 2, Size: 65_536}}
		},
		"no mapping":   func(s *specs.Spec) { s.Linux.UIDMappings = nil },
		"device rule":  func(s *specs.Spec) { s.Linux.Resources.Devices[0].Allow = true },
		"no resources": func(s *specs.Spec) { s.Linux.Resources = nil },
		"device node": func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/mem", Type: "c", Major: 1, Minor: 1}}
		},
		"hook": func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/sh"}}} },
		"no part": func(s *specs.Spec) {
			[]func(){func() { s.Linux = nil }, func() { s.Process = nil }, func() { s.Process.Capabilities = nil }}[pick(3)]()
		},
	}
	if err := spec.Check(soundSpec(t), false); err != nil {
		t.Fatalf("a sound spec: %v", err)
	}
	names := make([]string, 0, len(spoils))
	for name := range spoils {
		names = append(names, name)
	}
	sound, err := json.Marshal(soundSpec(t))
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3000 {
		var s specs.Spec
		if err := json.Unmarshal(sound, &s); err != nil {
			t.Fatal(err)
		}
		name := names[round%len(names)]
		spoils[name](&s)
		if err := spec.Check(&s, false); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// Privileged forgives the missing user namespace and nothing else.
	for _, name := range names {
		switch name {
		case "namespace left out", "no mapping", "host root mapped", "mapping past the end":
			continue
		}
		var s specs.Spec
		if err := json.Unmarshal(sound, &s); err != nil {
			t.Fatal(err)
		}
		spoils[name](&s)
		if err := spec.Check(&s, true); err == nil {
			t.Errorf("%s, privileged: taken", name)
		}
	}
}
