package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/console"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/order"
	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/container/runtime"
	"github.com/hutch-project/hutch/internal/container/spec"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/undo"
)

// A Supervisor of one running container.
type Supervisor struct {
	order  order.Order
	layout paths.Layout
	store  *store.Store
	wings  Wings
	log    *slog.Logger
	agent  *os.File // the agent's program, on a read-only mount of its own

	dir       string // the runtime folder
	container *runtime.Container
	screen    Screen // nil without display
	console   *console.Console
	listener  *net.UnixListener
	// agentListener is the resident agent's, until it is started; nil where the
	// container was adopted and has one.
	agentListener *net.UnixListener
	run           store.Run

	// down takes all of the run away, when the container has ended.
	down undo.Stack
	// ended is closed when everything is gone.
	ended   chan struct{}
	answers sync.WaitGroup // requests being answered
}

// New makes a supervisor; nothing has happened yet. agentProgram is the path of
// hutch-agent.
func New(l paths.Layout, w Wings, agentProgram string, log *slog.Logger) (*Supervisor, error) {
	agent, err := sealed(agentProgram)
	if err != nil {
		return nil, err
	}
	return &Supervisor{layout: l, store: store.New(l), wings: w, log: log, agent: agent, ended: make(chan struct{})}, nil
}

// sealed opens a program through a read-only mount that is in no namespace: a
// container that runs it can not write to it through /proc/PID/exe
// (CVE-2019-5736), whoever it is root as.
func sealed(program string) (*os.File, error) {
	mount, err := sys.CloneMount(program, false)
	if err != nil {
		return nil, err
	}
	defer mount.Close()
	if err := sys.SetMount(mount, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, 0, nil, false); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", mount.Fd()))
}

// Start carries out an order. When it returns without error the container runs
// and Serve must follow; else everything is as before.
func (s *Supervisor) Start(ctx context.Context, o order.Order) (err error) {
	s.order = o
	name := o.Record.Name
	s.dir = s.layout.ContainerRuntime(name)
	defer s.down.UnwindOn(&err)

	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	s.down.Push("remove "+s.dir, func() error { return s.removeRuntime() })
	self, err := sys.Identify(os.Getpid())
	if err != nil {
		return err
	}
	s.run = store.Run{ID: o.Record.ID, State: container.Starting, Since: time.Now(), Supervisor: self, InitKind: o.Init, Display: "none"}
	if err := s.store.SaveRun(name, s.run); err != nil {
		return err
	}
	if err := s.keepOrder(); err != nil {
		return err
	}
	s.log.Debug("order kept")

	if err := s.openDisplay(ctx); err != nil {
		return err
	}
	root, err := s.assemble()
	if err != nil {
		return err
	}
	defer root.Close()
	s.log.Debug("root filesystem mounted")
	if err := s.launch(); err != nil {
		return err
	}
	s.log.Debug("container runs")
	return nil
}

// keepOrder writes down what was ordered, for a supervisor that adopts.
func (s *Supervisor) keepOrder() error {
	data, err := json.Marshal(s.order)
	if err != nil {
		return err
	}
	return atomicfile.Replace(filepath.Join(s.dir, store.OrderFile), data, 0o600)
}

// DisplayDir is where a container finds its display's socket and cookie, whatever
// its init does to /tmp.
const DisplayDir = "/run/hutch/display"

// share is the folder of what hutch itself shows to the container.
func (s *Supervisor) share() string { return filepath.Join(s.dir, "share") }

func (s *Supervisor) openDisplay(ctx context.Context) error {
	if err := os.Mkdir(s.share(), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if s.order.Display.Level == "none" {
		return nil
	}
	screen, err := s.wings.OpenDisplay(filepath.Join(s.share(), "display"), s.order)
	if err != nil {
		return fmt.Errorf("display: %w", err)
	}
	s.screen = screen
	s.run.Display = screen.Words()
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := screen.Serve(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("display broker", "error", err)
		}
	}()
	s.down.Push("close the display", func() error {
		stop()
		err := screen.Close()
		<-served
		return err
	})
	return nil
}

// assemble mounts the root filesystem and all that is lent.
func (s *Supervisor) assemble() (*rootfs.Root, error) {
	o := s.order
	dir := s.layout.Container(o.Record.Name)
	options := rootfs.Options{Layers: o.Layers, Upper: rootfs.UpperDir(dir), Work: rootfs.WorkDir(dir), Dir: s.dir, Target: s.layout.Mountpoint()}
	if !o.Privileged {
		options.UIDs, options.GIDs = idMap(o.UIDs), idMap(o.GIDs)
	}
	root, err := rootfs.Mount(options)
	s.down.Push("unmount the root filesystem", func() error { return rootfs.Unmount(options) })
	if err != nil {
		return nil, err
	}
	if err := s.furnish(root); err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

func idMap(mappings []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	var m []syscall.SysProcIDMap
	for _, x := range mappings {
		m = append(m, syscall.SysProcIDMap{ContainerID: int(x.ContainerID), HostID: int(x.HostID), Size: int(x.Size)})
	}
	return m
}

// owner gives the host ids of a user inside.
func (s *Supervisor) owner(uid, gid uint32) rootfs.Owner {
	uid, gid = s.order.HostIDs(uid, gid)
	return rootfs.Owner{UID: uid, GID: gid}
}

// Sizes of the file systems in memory, in bytes. They count against the
// container's memory limit; the bound only keeps a runaway log from filling all
// of it.
const (
	runSize = 64 << 20
	tmpSize = 1 << 30
)

// furnish mounts the file systems in memory, and hutch's own files.
func (s *Supervisor) furnish(root *rootfs.Root) error {
	inside := s.owner(0, 0)
	if err := root.Tmpfs("/run", 0o755, runSize, inside); err != nil {
		return err
	}
	if err := root.Tmpfs("/tmp", 0o1777, tmpSize, inside); err != nil {
		return err
	}
	for _, file := range []string{"resolv.conf", "hosts"} {
		path := filepath.Join(s.share(), file)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return err
		}
		if err := s.lend(root, order.Lent{Source: path, Target: "/etc/" + file, ReadOnly: true}, inside); err != nil {
			return err
		}
	}
	if s.screen != nil {
		for _, target := range []string{DisplayDir, "/tmp/.X11-unix"} {
			if err := s.lend(root, order.Lent{Source: filepath.Join(s.share(), "display"), Target: target, ReadOnly: true}, inside); err != nil {
				return err
			}
		}
	}
	return nil
}

// lendMounts lends what the configuration says, into the container's own mount
// namespace and before its first program runs. Mounted any earlier, a mount could
// not be taken back while the container runs: the kernel locks in its place what a
// mount namespace begins with (mount_namespaces(7)).
func (s *Supervisor) lendMounts() error {
	if len(s.order.Mounts) == 0 {
		return nil
	}
	mountns, err := s.container.Namespace("mnt")
	if err != nil {
		return err
	}
	defer mountns.Close()
	for _, l := range s.order.Mounts {
		if err := s.lendMount(mountns, l); err != nil {
			return err
		}
	}
	return nil
}

func (s *Supervisor) lendMount(mountns *os.File, l order.Lent) error {
	source, err := s.source(l)
	if err != nil || source == nil {
		return err
	}
	defer source.Close()
	mount, err := rootfs.Lendable(source, l.ReadOnly)
	if err != nil {
		return fmt.Errorf("lend %s: %w", l.Source, err)
	}
	defer mount.Close()
	if err := rootfs.LendLive(s.dir, mountns, mount, l.Target, s.targetOwner(l.Target)); err != nil {
		return fmt.Errorf("lend %s: %w", l.Source, err)
	}
	return nil
}

// targetOwner is who owns the folders that a target needs: the person, in the
// person's home.
func (s *Supervisor) targetOwner(target string) rootfs.Owner {
	person := s.order.Record.Person
	if under(target, person.Home) {
		return s.owner(person.UID, person.GID)
	}
	return s.owner(0, 0)
}

// lend lends one of hutch's own files, for as long as the container runs.
func (s *Supervisor) lend(root *rootfs.Root, l order.Lent, owner rootfs.Owner) error {
	source, err := s.source(l)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := root.Lend(source, l.Target, l.ReadOnly, owner); err != nil {
		return fmt.Errorf("lend %s: %w", l.Source, err)
	}
	return nil
}

// source opens what is lent, where no part of its path is a link: a container that
// may write to one lent folder could else make another name lead anywhere. It is
// nil where an optional one is not there.
func (s *Supervisor) source(l order.Lent) (*os.File, error) {
	host, err := sys.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	defer host.Close()
	source, err := sys.OpenBeneath(host, l.Source[1:], unix.O_PATH, 0)
	switch {
	case errors.Is(err, os.ErrNotExist) && l.Optional:
		s.log.Info("optional source is not there", "source", l.Source)
		return nil, nil
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("lend %s: a part of the path is a symbolic link; write the path that it leads to", l.Source)
	case err != nil:
		return nil, fmt.Errorf("lend %s: %w", l.Source, err)
	}
	return source, nil
}

func under(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// Which descriptor the agent's program is, behind the extra ones it is given.
func agentProgram(extra int) string { return "/proc/self/fd/" + strconv.Itoa(3+extra) }

// launch makes the namespaces, joins the network, and lets init and the agent go.
func (s *Supervisor) launch() error {
	o := s.order
	name := o.Record.Name
	first, extra := []string{"/sbin/init"}, []*os.File(nil) // the image's own init is given nothing of ours
	if o.Init == "app" {
		first, extra = []string{agentProgram(0), "init"}, []*os.File{s.agent}
	}
	var capabilities []string // all of the list, but where the host's own are what there is
	if o.Privileged {
		var err error
		if capabilities, err = runtime.Available(spec.Capabilities); err != nil {
			return err
		}
	}
	built, err := spec.Build(spec.Wanted{
		Capabilities: capabilities,
		Name:         name, Rootfs: s.layout.Mountpoint(), Init: first, NoNewPrivs: o.Init == "app", Privileged: o.Privileged,
		UIDs: o.UIDs, GIDs: o.GIDs,
		Memory: o.Limits.Memory, CPUs: o.Limits.CPUs, PIDs: o.Limits.PIDs,
		Env:        []string{"container=hutch", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		CgroupPath: runtime.CgroupPath(s.layout.Cgroup, name), CgroupType: runtime.CgroupType(),
		StopSignal: stopSignal(o.Init), StopAfter: o.StopAfter,
	})
	if err != nil {
		return fmt.Errorf("the container's spec: %w", err)
	}
	s.log.Debug("spec checked")
	state := filepath.Join(s.dir, "oci")
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	join := s.joining()
	if s.container, err = runtime.Create(state, name, built, join.begin); err != nil {
		return err
	}
	s.down.Push("remove the container's cgroups", s.container.Destroy)
	terminal, process, err := s.container.Start(first, built.Process.Env, extra)
	s.down.Push("end the container's processes", func() error {
		err := s.container.Kill()
		if process != nil {
			_, _ = process.Wait() // how it ended is of no more interest
		}
		return err
	})
	lease, joinErr := join.end()
	if err := errors.Join(err, joinErr); err != nil {
		return err
	}
	s.run.Init = s.container.Init()
	s.log.Debug("namespaces made", "init", s.run.Init.PID)
	if err := s.openConsole(terminal); err != nil {
		return err
	}
	if err := s.tell(lease); err != nil {
		return err
	}
	if err := s.lendMounts(); err != nil {
		return err
	}
	if err := s.seal(); err != nil {
		return err
	}
	if err := s.container.Release(); err != nil {
		return fmt.Errorf("start %s: %w", first[0], err)
	}
	s.log.Debug("init released")
	if s.agentListener, err = sys.ListenUnix("unix", filepath.Join(s.dir, store.AgentSocket), 0o600); err != nil {
		return err
	}
	if err := s.listen(); err != nil {
		return err
	}
	s.run.State, s.run.Since = container.Running, time.Now()
	return s.store.SaveRun(name, s.run)
}

// seal makes what hides the machine's own files stay, whatever root inside does.
func (s *Supervisor) seal() error {
	mountns, err := s.container.Namespace("mnt")
	if err != nil {
		return err
	}
	defer mountns.Close()
	return rootfs.Seal(s.dir, mountns)
}

// A joining joins the network while the container's first process goes on being
// prepared.
type joining struct {
	s      *Supervisor
	done   chan struct{} // nil until begun
	lease  Lease
	result error
}

func (s *Supervisor) joining() *joining { return &joining{s: s} }

// begin is called when the network namespace is there, which is the caller's to
// close.
func (j *joining) begin(netns *os.File) error {
	if j.s.order.Network == "none" {
		return nil
	}
	fd, err := unix.FcntlInt(netns.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	own := os.NewFile(uintptr(fd), netns.Name())
	j.done = make(chan struct{})
	go func() {
		defer close(j.done)
		defer own.Close()
		j.lease, j.result = j.s.wings.Network.Attach(j.s.order, own)
	}()
	return nil
}

// end waits for the network, and pushes the way back.
func (j *joining) end() (Lease, error) {
	if j.done == nil {
		return Lease{Hosts: fmt.Appendf(nil, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 %s\n", j.s.order.Record.Name)}, nil
	}
	<-j.done
	if j.result != nil {
		return Lease{}, j.result
	}
	id := j.s.order.Record.ID
	j.s.down.Push("leave the network", func() error { return j.s.wings.Network.Detach(id) })
	j.s.run.Network = j.lease.Detail
	j.s.log.Debug("network attached")
	return j.lease, nil
}

// tell writes the files that tell the container of its network: the same that are
// mounted inside, written, not replaced.
func (s *Supervisor) tell(lease Lease) error {
	for file, data := range map[string][]byte{"resolv.conf": lease.ResolvConf, "hosts": lease.Hosts} {
		if err := os.WriteFile(filepath.Join(s.share(), file), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// startAgent starts the resident agent, listening on a socket of the host's that
// the command line connects to without any help of ours. Whoever connected before
// it is there waits for its hello.
func (s *Supervisor) startAgent() error {
	// Nobody but the agent holds the listening end: when it is gone, connecting
	// fails at once.
	listener, err := s.agentListener.File()
	if err := errors.Join(err, s.agentListener.Close()); err != nil {
		return err
	}
	defer listener.Close()
	var p *runtime.Process
	err = s.console.Lend(func(master *os.File) error {
		p, err = s.container.Run([]string{agentProgram(2), "serve", s.order.User}, s.agentEnv(), []*os.File{listener, master, s.agent})
		return err
	})
	if err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	go func() {
		state, err := p.Wait()
		s.log.Info("agent ended", "state", state, "error", err)
		s.tellOfChild()
	}()
	return nil
}

func (s *Supervisor) agentEnv() []string {
	var env []string
	if s.screen != nil {
		env = s.screen.Env()
	}
	return control.CarryEnv(slices.Concat(env, s.order.Env))
}

func (s *Supervisor) openConsole(terminal *os.File) error {
	c, err := console.Open(terminal, filepath.Join(s.layout.Container(s.order.Record.Name), console.LogName))
	if err != nil {
		terminal.Close()
		return err
	}
	s.console = c
	s.down.Push("close the console", c.Close)
	return nil
}

// removeRuntime removes the runtime folder. The mounts in it are in our namespace
// alone and gone by now; a folder that is one still is never entered.
func (s *Supervisor) removeRuntime() error { return sys.RemoveTree(s.dir) }
