package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/cgroup"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/sys"
)

// StopOptions say how a container is ended.
type StopOptions struct {
	Timeout time.Duration // from asking to killing; negative: as configured
	Force   bool          // kill at once
}

// Stop ends a container; one that does not run is no error.
func (w *Workspace) Stop(ctx context.Context, name string, o StopOptions) error {
	r, lock, err := w.open(ctx, name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if o.Timeout < 0 {
		c, err := w.Settings(r)
		if err != nil {
			return err
		}
		o.Timeout = c.StopTimeout
	}
	running, err := w.settleForStop(ctx, name, lock, o.Force)
	if err != nil || !running {
		return err
	}
	return w.stop(ctx, r, control.Stop{Timeout: o.Timeout, Force: o.Force})
}

// settleForStop is settle; but a container that can not be adopted is ended all
// the same, where that is asked for by force.
func (w *Workspace) settleForStop(ctx context.Context, name string, lock *store.Lock, force bool) (running bool, err error) {
	run, err := w.Records.Run(name)
	if err != nil {
		return false, err
	}
	if run.Alive() && run.State == container.Stopping && run.Supervisor.Alive() {
		return true, nil // asked once more, perhaps with less patience
	}
	running, err = w.settle(ctx, name, lock)
	if err == nil || !force {
		return running, err
	}
	w.Log.Warn("ending what can not be adopted", "container", name, "error", err)
	if err := w.endRun(name); err != nil {
		return false, err
	}
	return false, w.sweepRun(name)
}

// open takes the lock of a container and loads its record.
func (w *Workspace) open(ctx context.Context, name string) (container.Record, *store.Lock, error) {
	if err := container.CheckName(name); err != nil {
		return container.Record{}, nil, err
	}
	if _, err := w.Records.Load(name); err != nil {
		return container.Record{}, nil, err // without making a lock file for a name that is none
	}
	lock, err := w.Records.Lock(ctx, name)
	if err != nil {
		return container.Record{}, nil, err
	}
	r, err := w.Records.Load(name)
	if err != nil {
		lock.Unlock()
		return r, nil, err
	}
	return r, lock, nil
}

// stop asks the supervisor and waits until it has ended, too.
func (w *Workspace) stop(ctx context.Context, r container.Record, request control.Stop) error {
	run, err := w.Records.Run(r.Name)
	if err != nil || run == nil {
		return err
	}
	w.Log.Debug("asking it to end", "container", r.Name, "timeout", request.Timeout, "force", request.Force)
	patience := request.Timeout + settleTime
	if request.Force {
		patience = forceTime
	}
	_, err = w.ask(ctx, r.Name, control.Request{Stop: &request}, patience)
	if err == nil {
		err = waitFor(ctx, run.Supervisor, patience)
	} else if ctx.Err() == nil && waitFor(ctx, run.Supervisor, answerTime/10) == nil {
		err = nil // it was ended while it worked at it: the rest is ours
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && request.Force:
		w.Log.Warn("ending what does not answer", "container", r.Name, "error", err)
		if err := w.endRun(r.Name); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("stop %s: the supervisor (process %d): %w; 'hutch stop --force %s' ends it", r.Name, run.Supervisor.PID, err, r.Name)
	}
	w.Log.Debug("ended", "container", r.Name)
	return w.sweepRun(r.Name)
}

// forceTime is how long a supervisor may take to end its container by force, before
// both are ended without it.
const forceTime = 15 * time.Second

// ask sends a request to a supervisor, with descriptors where one needs them.
func (w *Workspace) ask(ctx context.Context, name string, r control.Request, patience time.Duration, files ...*os.File) (control.Answer, error) {
	var a control.Answer
	if run, err := w.Records.Run(name); err == nil && run != nil && run.Supervisor.Stopped() {
		pid := run.Supervisor.PID
		return a, fmt.Errorf("the supervisor (process %d) is stopped; 'kill -CONT %d' lets it go on", pid, pid)
	}
	c, err := sys.DialUnix("unix", filepath.Join(w.Layout.ContainerRuntime(name), store.ControlSocket))
	if err != nil {
		return a, err
	}
	conn := control.NewConn(c, control.MaxAnswer)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return a, err
	}
	if err := conn.Write(r, files...); err != nil {
		return a, err
	}
	stray, err := conn.Read(&a)
	sys.CloseAll(stray)
	if ctx.Err() != nil {
		return a, context.Cause(ctx)
	}
	if err != nil {
		return a, fmt.Errorf("the supervisor: %w", err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

// endRun kills a run and its supervisor, whatever state they are in.
func (w *Workspace) endRun(name string) error {
	run, err := w.Records.Run(name)
	if err != nil || run == nil {
		return err
	}
	for _, p := range []sys.Process{run.Supervisor, run.Init} {
		if !p.Alive() {
			continue
		}
		if err := p.Signal(9); err != nil && p.Alive() {
			return err
		}
		if err := waitFor(context.Background(), p, settleTime); err != nil {
			return err
		}
	}
	return nil
}

// sweepRun removes what a run left that has ended: processes, cgroups, the
// runtime folder. The mounts were in namespaces that are gone.
func (w *Workspace) sweepRun(name string) error {
	if err := cgroup.End(w.Layout.Cgroup, name); err != nil {
		return err
	}
	dir := w.Layout.ContainerRuntime(name)
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if r, err := w.Records.Load(name); err == nil {
		if err := w.netd(func(c *api.Client) error { return c.Detach(r.ID) }); err != nil {
			return err
		}
	}
	w.Log.Debug("swept", "container", name)
	return sys.RemoveTree(dir)
}

// netd talks to hutchd if it is there; what it would undo undoes itself else.
func (w *Workspace) netd(f func(*api.Client) error) error {
	c, err := api.Dial(w.Layout.NetdSocket())
	if errors.Is(err, api.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if err := f(c); !errors.Is(err, api.ErrNotRunning) {
		return err
	}
	return nil // it ended meanwhile
}

// Remove removes a container; one that runs is ended first, with force.
func (w *Workspace) Remove(ctx context.Context, name string, force bool) error {
	r, lock, err := w.open(ctx, name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	running, err := w.settleForStop(ctx, name, lock, force)
	if err != nil {
		return err
	}
	if running && !force {
		return fmt.Errorf("container %s %w; stop it first, or say --force", name, ErrRunning)
	}
	return w.remove(ctx, r, running)
}

// remove does the work; the caller holds the name's lock.
func (w *Workspace) remove(ctx context.Context, r container.Record, running bool) error {
	if running {
		if err := w.stop(ctx, r, control.Stop{Force: true}); err != nil {
			return err
		}
	}
	if err := w.netd(func(c *api.Client) error { return c.Forget(r.ID) }); err != nil {
		return err
	}
	return w.Records.Remove(r.Name)
}
