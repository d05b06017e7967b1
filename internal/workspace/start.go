package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/cgroup"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/container/order"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/image"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/sys"
)

// Start starts a container; one that runs already is no error.
func (w *Workspace) Start(ctx context.Context, name string) error {
	if _, err := w.Records.Load(name); err != nil {
		return err // without making a lock file for a name that is none
	}
	lock, err := w.Records.Lock(ctx, name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	r, err := w.Records.Load(name)
	if err != nil {
		return err
	}
	return w.start(ctx, r, lock)
}

// start does the work; the caller holds the name's lock.
func (w *Workspace) start(ctx context.Context, r container.Record, lock *store.Lock) error {
	running, err := w.settle(ctx, r.Name, lock)
	if err != nil || running {
		return err
	}
	o, err := w.order(ctx, r)
	if err != nil {
		return fmt.Errorf("start %s: %w", r.Name, err)
	}
	w.Log.Debug("order decided")
	if o.Network != string(config.NetworkNone) {
		if err := w.ensureNetd(ctx); err != nil {
			return fmt.Errorf("start %s: %w", r.Name, err)
		}
		w.Log.Debug("hutchd answers")
	}
	if err := os.MkdirAll(w.Layout.ContainersRuntime(), 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	report, err := w.supervise(ctx, r.Name, data, lock, "start")
	if err != nil {
		return fmt.Errorf("start %s: %w", r.Name, err)
	}
	if report.Error != "" {
		return fmt.Errorf("start %s: %s", r.Name, report.Error)
	}
	return nil
}

// order decides all that the supervisor is told.
func (w *Workspace) order(ctx context.Context, r container.Record) (order.Order, error) {
	c, err := w.Settings(r)
	if err != nil {
		return order.Order{}, err
	}
	images, err := w.images()
	if err != nil {
		return order.Order{}, err
	}
	layers, err := images.LayerPaths(r.Image.Layers)
	if err != nil {
		return order.Order{}, err
	}
	// The home was allowed when the configuration was written, or it is not in it.
	mounts, err := w.lent(c, r.Person, true)
	if err != nil {
		return order.Order{}, err
	}
	maps, err := idmap.Build(ids(c, r.Person), r.Person.UID, r.Person.GID, idmap.Range{Start: r.IDs.Start, Count: r.IDs.Count})
	if err != nil {
		return order.Order{}, err
	}
	machine, err := machineMemory()
	if err != nil {
		return order.Order{}, err
	}
	o := order.Order{
		Record: r, Layers: layers, Init: initKind(c.Init, layers), User: fmt.Sprint(r.Person.UID),
		UIDs: mappings(maps.UIDs), GIDs: mappings(maps.GIDs), Privileged: c.Privileged,
		Limits: w.kept(limits(c, machine)), Mounts: mounts, Network: string(c.Network), StopAfter: c.StopTimeout,
	}
	if c.Shell != "" {
		o.Env = append(o.Env, "SHELL="+c.Shell)
	}
	for name, value := range c.Environment {
		o.Env = append(o.Env, name+"="+value)
	}
	slices.Sort(o.Env)
	o.Display, err = w.display(ctx, c, r.Person)
	return o, err
}

func limits(c config.Config, machine config.Bytes) control.Limits {
	return control.Limits{Memory: int64(c.Memory.Limit(machine)), CPUs: c.CPUs, PIDs: c.PIDs}
}

// kept are the limits that this machine can keep; the others are told.
func (w *Workspace) kept(l control.Limits) control.Limits {
	drop := func(wanted bool, key, controller, none string) bool {
		if !wanted || cgroup.Has(controller) {
			return false
		}
		w.Log.Warn(fmt.Sprintf("%s is not limited: this machine has no %s controller ('hutch doctor' says how to get it); %s = %s says that this is fine", key, controller, key, none))
		return true
	}
	if drop(l.Memory > 0, "memory", "memory", "\"unlimited\"") {
		l.Memory = 0
	}
	if drop(l.CPUs > 0, "cpus", "cpu", "0") {
		l.CPUs = 0
	}
	if !cgroup.Has("pids") && l.PIDs > 0 {
		w.Log.Warn("the number of tasks is not limited: this machine has no pids controller ('hutch doctor' says how to get it)")
		l.PIDs = 0
	}
	return l
}

func mappings(m idmap.Map) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, x := range m {
		out = append(out, specs.LinuxIDMapping{ContainerID: x.ContainerID, HostID: x.HostID, Size: x.Size})
	}
	return out
}

// initKind decides what is process 1.
func initKind(wanted config.Init, layers []string) string {
	if wanted == config.InitAuto {
		if image.HasFile(layers, "/sbin/init") {
			return string(config.InitSystem)
		}
		return string(config.InitApp)
	}
	return string(wanted)
}

// display decides which screen the container gets.
func (w *Workspace) display(ctx context.Context, c config.Config, p container.Person) (order.Display, error) {
	level := c.Display
	if level == config.DisplayAuto {
		level = config.DisplayUntrusted
	}
	d := order.Display{Level: string(level)}
	if level == config.DisplayNone {
		return d, nil
	}
	d.Upstream = w.upstream(ctx, p)
	return d, nil
}

// upstream finds the person's X server, or nil where there is none now.
func (w *Workspace) upstream(ctx context.Context, p container.Person) *control.Display {
	found, trace, err := desktop.Decide(desktop.Gather(ctx, p.UID, w.getenv))
	w.Log.Debug("display decided", "trace", trace, "error", err)
	if err != nil {
		return nil
	}
	return &control.Display{
		Network: found.Address.Network, Address: found.Address.Path, Number: found.Number,
		AuthorityFile: found.AuthorityFile, UID: found.UID,
	}
}

// supervise starts the supervisor's program and hears its report. The supervisor
// lives in a mount namespace of its own, follows what the host mounts, and shares
// the container's lock until it has reported.
func (w *Workspace) supervise(ctx context.Context, name string, data []byte, lock *store.Lock, args ...string) (order.Report, error) {
	var report order.Report
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return report, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "report"), os.NewFile(uintptr(fds[1]), "report")
	defer ours.Close()
	defer theirs.Close()
	flags := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if args[0] == "start" {
		flags |= os.O_TRUNC
	}
	log, err := os.OpenFile(filepath.Join(w.Layout.Container(name), "supervisor.log"), flags, 0o600)
	if err != nil {
		return report, err
	}
	defer log.Close()
	c := exec.Command(filepath.Join(w.programs, supervisorProgram), args...)
	c.Dir = "/"
	c.Env = w.childEnv()
	c.Stderr = log
	c.ExtraFiles = []*os.File{theirs, lock.File()}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startApart(c); err != nil {
		return report, err
	}
	theirs.Close()
	go func() { _ = c.Wait() }() // its end while we live is told by the report
	// A report that does not come because ctx ended: the supervisor goes on, and
	// the next command finds it.
	stop := context.AfterFunc(ctx, func() { _ = unix.Shutdown(fds[0], unix.SHUT_RDWR) })
	defer stop()
	if _, err := ours.Write(data); err != nil {
		return report, err
	}
	if err := unix.Shutdown(fds[0], unix.SHUT_WR); err != nil {
		return report, err
	}
	answer, err := io.ReadAll(io.LimitReader(ours, 1<<20))
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	if err == nil {
		err = json.Unmarshal(answer, &report)
	}
	if err != nil {
		return report, fmt.Errorf("the supervisor ended without a word (%w); see %s", err, log.Name())
	}
	return report, nil
}

// childEnv is all the environment that hutch's own programs get.
func (w *Workspace) childEnv() []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if root := w.getenv(paths.RootVariable); root != "" {
		env = append(env, paths.RootVariable+"="+root)
	}
	return env
}

// startApart starts a program in a mount namespace of its own that receives the
// host's mounts and sends none.
func startApart(c *exec.Cmd) error {
	return sys.OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
		return c.Start()
	})
}

// settleTime is how long a container that is on its way, up or down, is waited
// for before it is taken for stuck.
const settleTime = 60 * time.Second

// settle brings a container whose lock is held into a clear state and says
// whether it runs: it adopts one without a supervisor, waits for one that is
// ending, ends one whose end was begun, and sweeps what a crash left.
func (w *Workspace) settle(ctx context.Context, name string, lock *store.Lock) (running bool, err error) {
	run, err := w.Records.Run(name)
	if err != nil {
		return false, err
	}
	if run == nil {
		return false, w.sweepRun(name)
	}
	if run.Supervisor.Alive() {
		if run.Alive() && run.State == container.Running {
			w.answerNames(ctx, name, run)
			return true, nil
		}
		// We hold the lock, so nobody starts it: it is on its way down.
		if err := waitFor(ctx, run.Supervisor, settleTime); err != nil {
			return false, fmt.Errorf("%s is ending: the supervisor (process %d): %w; 'hutch stop --force %s' ends both", name, run.Supervisor.PID, err, name)
		}
		return false, w.sweepRun(name)
	}
	if !run.Alive() || run.State == container.Starting {
		return false, w.sweepRun(name)
	}
	w.answerNames(ctx, name, run)
	w.Log.Info("adopting", "container", name)
	report, err := w.supervise(ctx, name, nil, lock, "adopt", name)
	if err != nil {
		return false, fmt.Errorf("adopt %s: %w", name, err)
	}
	if report.Error != "" {
		return false, fmt.Errorf("adopt %s: %s; 'hutch stop --force %s' ends it", name, report.Error, name)
	}
	if run.State == container.Stopping { // somebody wanted it to end
		r, err := w.Records.Load(name)
		if err != nil {
			return true, err
		}
		c, err := w.Settings(r)
		if err != nil {
			return true, err
		}
		return false, w.stop(ctx, r, control.Stop{Timeout: c.StopTimeout})
	}
	return true, nil
}

// answerNames sees to it that hutchd is there for a container that runs: without
// it packets pass, but nobody answers DNS.
func (w *Workspace) answerNames(ctx context.Context, name string, run *store.Run) {
	if len(run.Network) == 0 {
		return
	}
	if err := w.ensureNetd(ctx); err != nil {
		w.Log.Warn("the container has no name server", "container", name, "error", err)
	}
}

func waitFor(ctx context.Context, p sys.Process, patience time.Duration) error {
	f, err := p.Open()
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		ended, err := sys.WaitExit(f, 100*time.Millisecond)
		if err != nil || ended {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return fmt.Errorf("did not end within %v", patience)
}
