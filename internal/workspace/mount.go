package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/order"
	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/sys"
)

// Mount lends a folder, file or socket to a container, for good and, if it runs,
// at once.
func (w *Workspace) Mount(ctx context.Context, name string, m config.Mount, yes bool) error {
	r, lock, err := w.open(ctx, name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	lent, err := w.lend(m, r.Person, yes)
	if err != nil {
		return err
	}
	return w.edit(ctx, r, func(file []byte) ([]byte, error) {
		return config.AddMount(file, config.Container, m)
	}, func() error { return w.lendLive(ctx, name, lent) })
}

// lendLive lends something to a container that runs.
func (w *Workspace) lendLive(ctx context.Context, name string, l order.Lent) error {
	host, err := sys.OpenRoot("/")
	if err != nil {
		return err
	}
	defer host.Close()
	source, err := sys.OpenBeneath(host, l.Source[1:], unix.O_PATH, 0)
	if errors.Is(err, os.ErrNotExist) && l.Optional {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	defer source.Close()
	mount, err := rootfs.Lendable(source, l.ReadOnly)
	if err != nil {
		return err
	}
	defer mount.Close()
	_, err = w.ask(ctx, name, control.Request{Mount: &control.Mount{Source: l.Source, Target: l.Target}}, answerTime, mount)
	return err
}

// takeBack takes back from a container that runs.
func (w *Workspace) takeBack(ctx context.Context, name, target string) error {
	_, err := w.ask(ctx, name, control.Request{Unmount: target}, answerTime)
	return err
}

// answerTime is how long a supervisor may take for what is quickly done.
const answerTime = 10 * time.Second

// Unmount takes back what was lent at a target, for good and, if it runs, at
// once.
func (w *Workspace) Unmount(ctx context.Context, name, target string) error {
	r, lock, err := w.open(ctx, name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	c, err := w.Settings(r)
	if err != nil {
		return err
	}
	for _, m := range c.Mounts {
		if m.Target != target {
			continue
		}
		lent, err := w.lend(m, r.Person, true)
		if err != nil {
			w.Log.Info("what was lent is no more", "source", m.Source, "error", err)
		}
		return w.edit(ctx, r, func(file []byte) ([]byte, error) {
			return config.RemoveMount(file, config.Container, target)
		}, func() error { return w.takeBack(ctx, name, lent.Target) })
	}
	return fmt.Errorf("%s: nothing is lent at %s; 'hutch info %s' lists what is", name, target, name)
}

// edit changes a container's configuration and, if the container runs, the
// container: both or none.
func (w *Workspace) edit(ctx context.Context, r container.Record, change func([]byte) ([]byte, error), live func() error) error {
	path := w.ConfigFile(r.Name)
	before, err := config.ReadFile(path, 0)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	after, err := change(before)
	if err != nil {
		return err
	}
	run, err := w.Records.Run(r.Name)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(path, after, 0o600); err != nil {
		return err
	}
	if !run.Alive() || live == nil {
		return nil
	}
	if err := live(); err != nil {
		if back := atomicfile.Write(path, before, 0o600); back != nil {
			return fmt.Errorf("%w; and %s could not be put back: %w", err, path, back)
		}
		return err
	}
	return nil
}

// EditConfig changes a container's own configuration. What can be applied to a
// running container is; the keys that wait for a restart are returned.
func (w *Workspace) EditConfig(ctx context.Context, name string, change func([]byte) ([]byte, error)) (waiting []string, err error) {
	r, lock, err := w.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	before, err := w.Settings(r)
	if err != nil {
		// What is there is broken, and may be what is to be mended.
		w.Log.Warn("the configuration as it was can not be read", "error", err)
		before = config.Defaults()
	}
	layers, err := w.settings(r.Profile)
	if err != nil {
		return nil, err
	}
	var after config.Config
	err = w.edit(ctx, r, func(file []byte) ([]byte, error) {
		text, err := change(file)
		if err != nil {
			return nil, err
		}
		own, err := config.Parse(w.ConfigFile(name), config.Container, text)
		if err != nil {
			return nil, err
		}
		after = config.Resolve(append(layers, own)...)
		if ids(before, r.Person) != ids(after, r.Person) {
			return nil, fmt.Errorf("%s: ids is fixed when a container is made, for its files have their owners; make another one with it", name)
		}
		_, err = w.lent(after, r.Person, true)
		return text, err
	}, func() error {
		_, waiting, _ = config.NeedsRestart(before, after)
		return w.apply(ctx, r, before, after)
	})
	return waiting, err
}

// apply changes what can be changed of a running container.
func (w *Workspace) apply(ctx context.Context, r container.Record, before, after config.Config) error {
	machine, err := machineMemory()
	if err != nil {
		return err
	}
	if old, now := limits(before, machine), limits(after, machine); old != now {
		now = w.kept(now)
		if _, err := w.ask(ctx, r.Name, control.Request{Limits: &now}, answerTime); err != nil {
			return err
		}
	}
	old, err := w.lent(before, r.Person, true)
	if err != nil {
		w.Log.Info("some of what was lent is no more", "error", err)
	}
	now, err := w.lent(after, r.Person, true)
	if err != nil {
		return err
	}
	for _, l := range old {
		if !slices.Contains(now, l) {
			if err := w.takeBack(ctx, r.Name, l.Target); err != nil {
				return err
			}
		}
	}
	for _, l := range now {
		if !slices.Contains(old, l) {
			if err := w.lendLive(ctx, r.Name, l); err != nil {
				return err
			}
		}
	}
	return nil
}
