package workspace

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/store"
)

// ErrNotExist says that there is no container of that name.
var ErrNotExist = store.ErrNotExist

// Ensure sees to it that a container is there and runs, and that it knows the
// person's screen of now; made says whether it had to be created. Of two at once
// one creates it, the other waits and joins.
func (w *Workspace) Ensure(ctx context.Context, o CreateOptions) (made bool, err error) {
	if err := container.CheckName(o.Name); err != nil {
		return false, err
	}
	lock, err := w.Records.Lock(ctx, o.Name)
	if err != nil {
		return false, err
	}
	defer lock.Unlock()
	r, err := w.Records.Load(o.Name)
	if errors.Is(err, ErrNotExist) {
		if o.Image == "" {
			return false, fmt.Errorf("%w: %s; make it by --image, such as --image debian/bookworm", ErrNotExist, o.Name)
		}
		made = true
		r, err = w.create(ctx, o)
	}
	if err != nil {
		return made, err
	}
	if err := w.start(ctx, r, lock); err != nil {
		return made, err
	}
	return made, w.show(ctx, r)
}

// show tells a running container's broker where the person's screen is now: it
// may be another than when the container began.
func (w *Workspace) show(ctx context.Context, r container.Record) error {
	run, err := w.Records.Run(r.Name)
	if err != nil || run == nil || run.Display == "none" {
		return err
	}
	d := w.upstream(ctx, r.Person)
	if d == nil {
		return nil
	}
	_, err = w.ask(ctx, r.Name, control.Request{Display: d}, 5*time.Second)
	return err
}

// Wake makes a container that runs answer again: one that lost its supervisor is
// adopted. One that does not run is an error.
func (w *Workspace) Wake(ctx context.Context, name string) error {
	_, lock, err := w.open(ctx, name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	running, err := w.settle(ctx, name, lock)
	if err != nil {
		return err
	}
	if !running {
		return fmt.Errorf("container %s %w; start it with 'hutch start %s'", name, ErrNotRunning, name)
	}
	return nil
}
