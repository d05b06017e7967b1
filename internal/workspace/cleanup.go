package workspace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/cgroup"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/container/subids"
	"github.com/hutch-project/hutch/internal/sys"
)

// Cleanup removes every trace of a crash and takes up again what runs without a
// supervisor. Containers at which another command is at work are left to it. It
// returns what it did, a line each, and goes on after a failure.
func (w *Workspace) Cleanup(ctx context.Context) (done []string, err error) {
	names, err := w.traces()
	if err != nil {
		return nil, err
	}
	var failures []error
	for _, name := range names {
		what, err := w.cleanName(ctx, name)
		if err != nil {
			failures = append(failures, err)
		}
		if what != "" {
			done = append(done, what)
		}
	}
	removed, err := w.cleanDrafts(ctx)
	done = append(done, removed...)
	failures = append(failures, err, w.removeLocks(), w.sweepImages(ctx), w.retainAddresses(), cgroup.RemoveParent(w.Layout.Cgroup))
	return done, errors.Join(failures...)
}

// removeLocks removes the locks of names that no container has.
func (w *Workspace) removeLocks() error {
	names, err := w.Records.LockNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		lock, err := w.Records.TryLock(name)
		if errors.Is(err, store.ErrLocked) {
			continue // somebody makes one of that name
		}
		if err != nil {
			return err
		}
		if _, err := os.Lstat(w.Layout.Container(name)); errors.Is(err, os.ErrNotExist) {
			err = w.Records.RemoveLock(name, lock)
			if err != nil {
				return err
			}
		}
		lock.Unlock()
	}
	return nil
}

// traces are all names that something is there of.
func (w *Workspace) traces() ([]string, error) {
	runs, err := w.Records.Runs()
	if err != nil {
		return nil, err
	}
	groups, err := cgroup.Names(w.Layout.Cgroup)
	if err != nil {
		return nil, err
	}
	names, err := w.Records.Names()
	if err != nil {
		return nil, err
	}
	all := slices.Concat(runs, groups, names)
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (w *Workspace) cleanName(ctx context.Context, name string) (what string, err error) {
	if container.CheckName(name) != nil {
		return "", nil // not ours
	}
	lock, err := w.Records.TryLock(name)
	if errors.Is(err, store.ErrLocked) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	r, err := w.Records.Load(name)
	switch {
	case errors.Is(err, store.ErrNotExist): // a crash left a run, cgroups, or a folder without a record
		if err := w.endRun(name); err != nil {
			return "", err
		}
		if err := w.sweepRun(name); err != nil {
			return "", err
		}
		return "removed what was left of " + name, sys.RemoveTree(w.Layout.Container(name))
	case err != nil:
		return "", err
	}
	if err := atomicfile.Sweep(w.Layout.Container(name)); err != nil {
		return "", err
	}
	before, err := w.Records.Run(name)
	if err != nil {
		return "", err
	}
	running, err := w.settle(ctx, name, lock)
	if err != nil {
		return "", err
	}
	if r.Build {
		return "removed the build container " + name, w.remove(ctx, r, running)
	}
	switch {
	case running && !before.Supervisor.Alive():
		return "took up " + name + " again", nil
	case !running && before != nil:
		return "removed what was left of a run of " + name, nil
	}
	return "", nil
}

// cleanDrafts removes containers that were never finished or half removed. Drafts
// are made under the lock of ids: while we hold it, none is being made.
func (w *Workspace) cleanDrafts(ctx context.Context) (done []string, err error) {
	if _, err := os.Lstat(w.Layout.Containers()); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	lock, err := w.Records.Lock(ctx, ".ids")
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	// Whoever writes these has the lock, too.
	for _, file := range []string{w.Layout.SubUID, w.Layout.SubGID, w.Layout.SubIDRecord()} {
		if err := atomicfile.Sweep(filepath.Dir(file), filepath.Base(file)); err != nil {
			return nil, err
		}
	}
	left, err := w.Records.Leftovers()
	if err != nil {
		return nil, err
	}
	for _, dir := range left {
		if err := sys.RemoveTree(dir); err != nil {
			return done, err
		}
		done = append(done, "removed the unfinished "+dir)
	}
	return done, nil
}

func (w *Workspace) sweepImages(ctx context.Context) error {
	if _, err := os.Lstat(w.Layout.Images()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	images, err := w.images()
	if err != nil {
		return err
	}
	return images.Sweep(ctx, w.used)
}

// used says which layers containers are made of, and which containers.
func (w *Workspace) used() (map[string][]string, error) {
	records, err := w.Records.List()
	if err != nil {
		return nil, err
	}
	used := map[string][]string{}
	for _, r := range records {
		for _, layer := range r.Image.Layers {
			used[layer] = append(used[layer], r.Name)
		}
	}
	return used, nil
}

// CleanupAll removes everything that hutch ever made on this machine but the
// configuration that people wrote: containers, running or not, images, caches,
// the network, root's ids. It works without any state, too.
func (w *Workspace) CleanupAll(ctx context.Context) error {
	names, err := w.traces()
	if err != nil {
		return err
	}
	var failures []error
	for _, name := range names {
		if container.CheckName(name) == nil {
			failures = append(failures, w.wipe(ctx, name))
		}
	}
	if err := errors.Join(failures...); err != nil {
		return err // what still runs needs the rest
	}
	c := exec.CommandContext(ctx, filepath.Join(w.programs, netdProgram), "--cleanup")
	c.Env = w.childEnv()
	if out, err := c.CombinedOutput(); err != nil {
		failures = append(failures, fmt.Errorf("hutchd --cleanup: %w: %s", err, strings.TrimSpace(string(out))))
	}
	failures = append(failures, w.takeBackIDs(), cgroup.RemoveParent(w.Layout.Cgroup))
	for _, dir := range []string{w.Layout.State, w.Layout.Netd, w.Layout.Cache, w.Layout.Runtime} {
		failures = append(failures, sys.RemoveTree(dir))
	}
	// Made for a profile or a setting, and of no more use when empty.
	_ = os.Remove(filepath.Join(w.Layout.Config, "profiles"))
	_ = os.Remove(w.Layout.Config)
	return errors.Join(failures...)
}

// takeBackIDs takes the ids back that root was given for containers, of which there
// are none any more.
func (w *Workspace) takeBackIDs() error {
	accounts, err := accountIDs()
	if err != nil {
		return err
	}
	return subids.TakeBack(w.Layout, accounts)
}

// wipe ends and removes a container whatever state it is in.
func (w *Workspace) wipe(ctx context.Context, name string) error {
	lock, err := w.Records.Lock(ctx, name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	running, err := w.settleForStop(ctx, name, lock, true)
	if err != nil {
		return err
	}
	if r, err := w.Records.Load(name); running && err == nil {
		if err := w.stop(ctx, r, control.Stop{Force: true}); err != nil {
			return err
		}
	}
	if err := w.endRun(name); err != nil {
		return err
	}
	if err := w.sweepRun(name); err != nil {
		return err
	}
	return sys.RemoveTree(w.Layout.Container(name))
}
