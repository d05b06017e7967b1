package workspace

import (
	"context"
	"fmt"
	"time"

	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/display"
	"github.com/hutch-project/hutch/internal/doctor"
	"github.com/hutch-project/hutch/internal/network/api"
)

// Doctor looks at the machine, and says what containers will miss of it.
func (w *Workspace) Doctor(ctx context.Context) ([]doctor.Finding, error) {
	p, err := w.person()
	if err != nil {
		return nil, err
	}
	s := doctor.Machine(w.Layout, doctor.Person{Name: p.Name, UID: p.UID, GID: p.GID})
	records, err := w.Records.List()
	if err != nil {
		w.Log.Warn("some containers can not be read", "error", err)
	}
	for _, r := range records {
		s.Taken = append(s.Taken, idmap.Range{Start: r.IDs.Start, Count: r.IDs.Count})
	}
	s.Display = func() doctor.Display { return w.probeDisplay(ctx, p.UID) }
	s.Netd = w.probeNetd
	s.Leftovers = w.leftovers
	return doctor.Examine(doctor.Gather(s)), nil
}

// probeTime is how long an X server may take to answer.
const probeTime = 5 * time.Second

func (w *Workspace) probeDisplay(ctx context.Context, uid uint32) doctor.Display {
	found, _, err := desktop.Decide(desktop.Gather(ctx, uid, w.getenv))
	if err != nil {
		return doctor.Display{}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	server, err := display.Probe(ctx, found)
	d := doctor.Display{Name: fmt.Sprintf(":%d", found.Number)}
	if err != nil {
		d.Error = err.Error()
		return d
	}
	d.Security = server.Security
	return d
}

func (w *Workspace) probeNetd() doctor.Netd {
	c, err := api.Dial(w.Layout.NetdSocket())
	if err != nil {
		return doctor.Netd{}
	}
	defer c.Close()
	if _, err := c.Status(); err != nil {
		return doctor.Netd{Running: true, Error: err.Error()}
	}
	return doctor.Netd{Running: true}
}

// leftovers are what `hutch cleanup` would remove.
func (w *Workspace) leftovers() ([]string, error) {
	left, err := w.Records.Leftovers()
	if err != nil {
		return nil, err
	}
	runs, err := w.Records.Runs()
	if err != nil {
		return left, err
	}
	for _, name := range runs {
		run, err := w.Records.Run(name)
		if err != nil {
			return left, err
		}
		if !run.Alive() || !run.Supervisor.Alive() {
			left = append(left, w.Layout.ContainerRuntime(name))
		}
	}
	return left, nil
}
