package spec

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Wanted is all that decides a container's spec.
type Wanted struct {
	Name       string
	Rootfs     string // absolute, prepared
	Init       []string
	NoNewPrivs bool // for containers without an init of their own
	// Capabilities that the host can give, of a privileged container; others have
	// all of the list.
	Capabilities []string
	Privileged   bool
	UIDs, GIDs   []specs.LinuxIDMapping
	Memory       int64   // bytes; 0: no limit
	CPUs         float64 // 0: no limit
	PIDs         int64   // 0: no limit
	Env          []string
	CgroupPath   string
	CgroupType   string // what is mounted on /sys/fs/cgroup: "cgroup" or "cgroup2"
	// How the container is asked to end, for the host's systemd that shuts down.
	StopSignal syscall.Signal
	StopAfter  time.Duration // from the signal to the kill
}

// cpuPeriod is the kernel's default period of CPU bandwidth control, in
// microseconds (Documentation/scheduler/sched-bwc.rst).
const cpuPeriod = 100_000

// MaskedPaths are hidden: they tell of, or change, the whole machine. The list is
// runc's and Podman's joined, and the kernel's tracing folders.
var MaskedPaths = []string{
	"/proc/acpi",
	"/proc/asound",
	"/proc/interrupts",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/dev/block",
	"/sys/devices/virtual/powercap",
	"/sys/firmware",
	"/sys/fs/bpf",
	"/sys/fs/selinux",
	"/sys/kernel/debug",
	"/sys/kernel/security",
	"/sys/kernel/tracing",
}

// ReadonlyPaths may be read and not written, by root inside either (threat 39).
var ReadonlyPaths = []string{
	"/proc/bus",
	"/proc/fs",
	"/proc/irq",
	"/proc/sys",
	"/proc/sysrq-trigger",
}

// Build returns the spec for what is wanted.
func Build(w Wanted) (*specs.Spec, error) {
	filter, err := Seccomp()
	if err != nil {
		return nil, err
	}
	s := &specs.Spec{
		Version:  specs.Version,
		Hostname: w.Name,
		Root:     &specs.Root{Path: w.Rootfs},
		Process: &specs.Process{
			Args: w.Init,
			Env:  w.Env,
			Cwd:  "/",
			Capabilities: &specs.LinuxCapabilities{
				Bounding:  Capabilities,
				Effective: Capabilities,
				Permitted: Capabilities,
			},
			NoNewPrivileges: w.NoNewPrivs,
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_NOFILE", Soft: 1024, Hard: 524288}, // systemd's defaults (systemd-system.conf(5))
				{Type: "RLIMIT_CORE", Soft: 0, Hard: 0},           // core_pattern is the host's (threat 39)
			},
		},
		Mounts:      mounts(w),
		Annotations: scope(w),
		Linux: &specs.Linux{
			UIDMappings: w.UIDs,
			GIDMappings: w.GIDs,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace},
				{Type: specs.PIDNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.CgroupNamespace},
				{Type: specs.NetworkNamespace},
			},
			Resources:         Resources(w.Memory, w.CPUs, w.PIDs),
			CgroupsPath:       w.CgroupPath,
			Seccomp:           filter,
			MaskedPaths:       MaskedPaths,
			ReadonlyPaths:     ReadonlyPaths,
			RootfsPropagation: "rslave",
			// Ports below 1024 are as harmless as all others in a namespace of its
			// own, and ping works without privilege.
			Sysctl: map[string]string{
				"net.ipv4.ip_unprivileged_port_start": "0",
				"net.ipv4.ping_group_range":           "0 " + strconv.FormatUint(uint64(lastID(w.GIDs)), 10),
			},
		},
	}
	if w.Privileged {
		s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		c := s.Process.Capabilities
		c.Bounding, c.Effective, c.Permitted = w.Capabilities, w.Capabilities, w.Capabilities
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
			return n.Type == specs.UserNamespace
		})
		s.Linux.Sysctl["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	return s, Check(s, w.Privileged)
}

// scope says how systemd ends the container's scope when the host shuts down: with
// SIGTERM, its default, an init system inside does not end, and the host would wait
// for its own patience of 90 seconds (systemd.kill(5); the words are runc's, for
// D-Bus). Without systemd nobody reads it.
func scope(w Wanted) map[string]string {
	if w.StopSignal == 0 {
		return nil
	}
	return map[string]string{
		"org.systemd.property.KillSignal":      fmt.Sprintf("int32 %d", w.StopSignal),
		"org.systemd.property.TimeoutStopUSec": fmt.Sprintf("uint64 %d", w.StopAfter.Microseconds()),
	}
}

// Resources are the limits in the words of the spec; a nil field leaves the
// kernel's own.
func Resources(memory int64, cpus float64, pids int64) *specs.LinuxResources {
	r := &specs.LinuxResources{
		// Everything but the standard nodes is closed, whatever a mount shows.
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
	}
	if memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &memory, Swap: &memory}
	}
	if cpus > 0 {
		quota, period := int64(cpus*cpuPeriod), uint64(cpuPeriod)
		r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if pids > 0 {
		r.Pids = &specs.LinuxPids{Limit: &pids}
	}
	return r
}

func lastID(mappings []specs.LinuxIDMapping) uint32 {
	last := uint32(0)
	for _, m := range mappings {
		if m.Size > 0 {
			last = max(last, m.ContainerID+m.Size-1)
		}
	}
	return last
}

// mounts are the kernel's own filesystems; all others are in the root filesystem
// before the container begins.
func mounts(w Wanted) []specs.Mount {
	shm := "size=50%"
	if w.Memory > 0 {
		shm = fmt.Sprintf("size=%d", w.Memory/2)
	}
	cgroup := specs.Mount{
		Destination: "/sys/fs/cgroup", Type: w.CgroupType, Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "rw"},
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", shm}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		cgroup,
	}
}

// under says whether path is dir or lies below it; both are clean.
func under(path, dir string) bool {
	if dir == "/" {
		return true
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !(len(rel) > 2 && rel[:3] == "../")
}
