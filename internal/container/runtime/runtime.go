package runtime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // registers the device rules of both cgroup versions
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // the C part that enters namespaces before Go begins
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runc/libcontainer/utils"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/systemd"
)

// Reexec takes over when the program was started anew to become a container's
// process. It must be called from an init function, before anything else.
func Reexec() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init()
	}
}

// A Container of libcontainer's.
type Container struct {
	c        *libcontainer.Container
	init     sys.Process
	children children
}

// CgroupType is what a container mounts on /sys/fs/cgroup: the cgroup2 tree
// alone, also where the host has version 1 beside it, since every systemd
// accepts that.
func CgroupType() string {
	if cgroups.IsCgroup2UnifiedMode() {
		return "cgroup" // libcontainer's word for the mode of the host
	}
	return "cgroup2"
}

// CgroupPath names the cgroup of a container below parent: by systemd's scopes
// where systemd runs the host, by folders elsewhere.
func CgroupPath(parent, name string) string {
	if systemd.Runs() {
		return "machine.slice:" + parent + ":" + name
	}
	return filepath.Join("/", parent, name)
}

// Create makes a container in state, an existing folder of the caller's own,
// from a checked spec. Nothing runs yet. When Start has made the network namespace,
// made is called with it, and Start goes on when made returns; the file is closed
// then.
func Create(state, name string, s *specs.Spec, made func(netns *os.File) error) (*Container, error) {
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{
		CgroupName:       name,
		UseSystemdCgroup: systemd.Runs(),
		NoNewKeyring:     true, // the keyring calls are not allowed inside
		Spec:             s,
	})
	if err != nil {
		return nil, fmt.Errorf("the spec: %w", err)
	}
	closeTun(config)
	logrus.SetLevel(logrus.ErrorLevel) // a hook that is a function has no place in the state it saves, and it says so each time
	config.Hooks = configs.Hooks{configs.CreateRuntime: {configs.NewFunctionHook(func(s *specs.State) error {
		// The process waits for us: its id is nobody else's.
		netns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", s.Pid))
		if err != nil {
			return err
		}
		defer netns.Close()
		return made(netns)
	})}}
	c, err := libcontainer.Create(state, name, config)
	if err != nil {
		return nil, err
	}
	return &Container{c: c}, nil
}

// closeTun takes /dev/net/tun out of libcontainer's default devices: it is a
// grant.
func closeTun(config *configs.Config) {
	kept := config.Cgroups.Resources.Devices[:0]
	for _, rule := range config.Cgroups.Resources.Devices {
		if rule.Allow && rule.Major == 10 && rule.Minor == 200 {
			continue
		}
		kept = append(kept, rule)
	}
	config.Cgroups.Resources.Devices = kept
}

// Load finds a container that Create made in state.
func Load(state, name string) (*Container, error) {
	c, err := libcontainer.Load(state, name)
	if err != nil {
		return nil, err
	}
	s, err := c.State()
	if err != nil {
		return nil, err
	}
	return &Container{c: c, init: sys.Process{PID: s.InitProcessPid, Start: s.InitProcessStartTime}}, nil
}

// Start makes the namespaces and prepares the first process, which waits for
// Release. It returns the master of the container's console.
func (c *Container) Start(args, env []string, extra []*os.File) (console *os.File, p *Process, err error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, nil, err
	}
	defer ours.Close()
	defer theirs.Close()
	first := &libcontainer.Process{
		Args: args, Env: env, Cwd: "/", Init: true,
		ConsoleSocket: theirs, ConsoleWidth: 80, ConsoleHeight: 24,
		ExtraFiles: extra,
	}
	if err := c.c.Start(first); err != nil {
		return nil, nil, err
	}
	p, err = c.track(first)
	if err != nil {
		return nil, nil, err
	}
	//lint:ignore SA1019 the runtime sends its console this way, and has no other reader of it to offer before runc 1.6
	if console, err = utils.RecvFile(ours); err != nil {
		return nil, p, fmt.Errorf("the console: %w", err)
	}
	state, err := c.c.State()
	if err != nil {
		console.Close()
		return nil, p, err
	}
	c.init = sys.Process{PID: state.InitProcessPid, Start: state.InitProcessStartTime}
	if err := delegate(state, c.c.Config()); err != nil {
		console.Close()
		return nil, p, err
	}
	return console, p, nil
}

// delegate gives the container its part of the cgroup2 tree where libcontainer
// does not: on hosts that have version 1 beside it
// (Documentation/admin-guide/cgroup-v2.rst, "Delegation").
func delegate(state *libcontainer.State, config configs.Config) error {
	dir := state.CgroupPaths[""]
	if dir == "" || cgroups.IsCgroup2UnifiedMode() || len(config.UIDMappings) == 0 {
		return nil
	}
	uid, err := config.HostRootUID()
	if err != nil {
		return err
	}
	gid, err := config.HostRootGID()
	if err != nil {
		return err
	}
	for _, file := range []string{".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Lchown(filepath.Join(dir, file), uid, gid); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func socketpair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console"), nil
}

// Release lets the first process go.
func (c *Container) Release() error { return c.c.Exec() }

// Init is the identity of the first process, on the host.
func (c *Container) Init() sys.Process { return c.init }

// Namespace opens one of the container's namespaces, by its name below
// /proc/PID/ns.
func (c *Container) Namespace(kind string) (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", c.init.PID, kind))
	if err != nil {
		return nil, err
	}
	if !c.init.Alive() { // the id may be another's by now
		f.Close()
		return nil, unix.ESRCH
	}
	return f, nil
}

// A Process inside.
type Process struct {
	p   *libcontainer.Process
	pid int // on the host
	c   *Container
}

func (c *Container) track(p *libcontainer.Process) (*Process, error) {
	pid, err := p.Pid()
	if err != nil {
		return nil, err
	}
	c.children.add(pid)
	return &Process{p, pid, c}, nil
}

// Wait waits for its end.
func (p *Process) Wait() (*os.ProcessState, error) {
	defer p.c.children.remove(p.pid)
	return p.p.Wait()
}

// Run starts one more process inside, as root of the container, under the very
// confinement that the first one got: what libcontainer takes from the container's
// configuration for a process that brings none of its own. extra become its
// descriptors 3 and on; the three standard ones are a pipe that leads from the
// process to itself: not /dev/null, as that would be the host's.
func (c *Container) Run(args, env []string, extra []*os.File) (*Process, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	defer out.Close()
	p := &libcontainer.Process{Args: args, Env: env, Cwd: "/", Stdin: in, Stdout: out, Stderr: out, ExtraFiles: extra}
	c.children.starting.Lock()
	defer c.children.starting.Unlock()
	if err := c.c.Run(p); err != nil {
		return nil, err
	}
	return c.track(p)
}

// Limit changes the limits of a running container; the resources are of
// spec.Resources.
func (c *Container) Limit(r *specs.LinuxResources) error {
	config := c.c.Config()
	resources := config.Cgroups.Resources
	if r.Memory != nil {
		resources.Memory, resources.MemorySwap = *r.Memory.Limit, *r.Memory.Swap
	} else if resources.Memory != 0 { // what was never limited may have no controller
		resources.Memory, resources.MemorySwap = -1, -1
	}
	if r.CPU != nil {
		resources.CpuQuota, resources.CpuPeriod = *r.CPU.Quota, *r.CPU.Period
	} else {
		resources.CpuQuota = -1
	}
	unlimited := int64(-1)
	resources.PidsLimit = &unlimited
	if r.Pids != nil {
		resources.PidsLimit = r.Pids.Limit
	}
	return c.c.Set(config)
}

// Stats of the container's cgroups.
func (c *Container) Stats() (*cgroups.Stats, error) {
	s, err := c.c.Stats()
	if err != nil {
		return nil, err
	}
	return s.CgroupStats, nil
}

// Kill ends every process inside, at once.
func (c *Container) Kill() error {
	err := c.c.Signal(unix.SIGKILL)
	if errors.Is(err, libcontainer.ErrNotRunning) {
		return nil
	}
	return err
}

// Destroy removes the cgroups and the state of a container whose processes have
// ended.
func (c *Container) Destroy() error { return c.c.Destroy() }
