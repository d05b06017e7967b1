package workspace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/network/api"
)

// A Summary is a container as a list shows it.
type Summary struct {
	Name    string          `json:"name"`
	State   container.State `json:"state"`
	Image   string          `json:"image"`
	Address []string        `json:"address"` // IPv4, IPv6; empty unless it runs with a network
	Since   *time.Time      `json:"since"`   // of its state; null when stopped
	Created time.Time       `json:"created"`
}

// List returns all containers, by name. What can not be read is in the error; the
// rest is returned all the same.
func (w *Workspace) List() ([]Summary, error) {
	records, broken := w.Records.List()
	all := []Summary{}
	for _, r := range records {
		if r.Build {
			continue
		}
		s, _, err := w.summary(r)
		if err != nil {
			broken = errors.Join(broken, fmt.Errorf("%s: %w", r.Name, err))
		}
		all = append(all, s)
	}
	return all, broken
}

func (w *Workspace) summary(r container.Record) (Summary, *api.Lease, error) {
	s := Summary{Name: r.Name, State: container.Stopped, Image: r.Image.Reference, Address: []string{}, Created: r.Created}
	run, err := w.Records.Run(r.Name)
	if err != nil || run == nil {
		return s, nil, err
	}
	if !run.Alive() && run.State != container.Starting {
		return s, nil, nil
	}
	s.State, s.Since = run.State, &run.Since
	var lease *api.Lease
	if len(run.Network) > 0 {
		if err := json.Unmarshal(run.Network, &lease); err != nil {
			return s, nil, err
		}
	}
	if lease != nil {
		s.Address = []string{lease.Address4.Addr().String(), lease.Address6.Addr().String()}
	}
	return s, lease, nil
}

// Info is all that there is to say of a container, as a lease reads.
type Info struct {
	Summary
	ID         string           `json:"id"`
	Digest     string           `json:"digest"`
	Person     container.Person `json:"person"`
	Profile    string           `json:"profile"`
	IDs        string           `json:"ids"`
	Init       string           `json:"init"`
	Process    int              `json:"process"` // of its init, on the host; 0 when stopped
	Privileged bool             `json:"privileged"`
	Network    string           `json:"network"`
	Lease      *api.Lease       `json:"lease"` // null without a network
	Display    string           `json:"display"`
	Mounts     []config.Mount   `json:"mounts"`
	Usage      *control.Usage   `json:"usage"` // null when stopped
	Limits     control.Limits   `json:"limits"`
	Disk       int64            `json:"disk"` // bytes of the private layer
	Granted    []string         `json:"granted"`
	NotGranted []string         `json:"not_granted"`
}

// Info returns what is to say of a container, which may be running or not.
func (w *Workspace) Info(ctx context.Context, name string) (Info, error) {
	r, err := w.Records.Load(name)
	if err != nil {
		return Info{}, err
	}
	c, err := w.Settings(r)
	if err != nil {
		return Info{}, err
	}
	summary, lease, err := w.summary(r)
	if err != nil {
		return Info{}, err
	}
	machine, err := machineMemory()
	if err != nil {
		return Info{}, err
	}
	i := Info{
		Summary: summary, ID: r.ID, Digest: r.Image.Digest, Person: r.Person, Profile: r.Profile,
		IDs: string(ids(c, r.Person)), Init: string(c.Init), Privileged: c.Privileged,
		Network: string(c.Network), Lease: lease, Display: string(c.Display), Mounts: c.Mounts, Limits: limits(c, machine),
	}
	run, err := w.Records.Run(name)
	if err != nil {
		return Info{}, err
	}
	if run.Alive() {
		i.Init, i.Process, i.Display = run.InitKind, run.Init.PID, run.Display
		answer, err := w.ask(ctx, name, control.Request{Usage: true}, 5*time.Second)
		if err != nil {
			w.Log.Warn("no figures of what it uses; the next start, stop or run takes it up again", "container", name, "error", err)
		}
		i.Usage = answer.Usage
	}
	if i.Disk, err = diskUsed(rootfs.UpperDir(w.Layout.Container(name))); err != nil {
		return Info{}, err
	}
	i.Granted, i.NotGranted = words(i)
	return i, nil
}

// words say what a container was given, and what it was not.
func words(i Info) (granted, not []string) {
	granted = []string{}
	for _, m := range i.Mounts {
		how := "reads"
		if m.Mode == config.ReadWrite {
			how = "reads and writes"
		}
		granted = append(granted, fmt.Sprintf("%s %s as %s", how, m.Source, m.Target))
	}
	if len(i.Mounts) == 0 {
		not = append(not, "any folder of the host")
	}
	switch config.Network(i.Network) {
	case config.NetworkNone:
		not = append(not, "any network")
	default:
		granted = append(granted, "the Internet, by what lies behind the default route")
		not = append(not, "this machine's own services", "the home network, VPNs, other containers")
	}
	switch config.Display(i.Display) {
	case config.DisplayNone:
		not = append(not, "the screen")
	case config.DisplayTrusted:
		granted = append(granted, "the whole screen: it sees and controls every window")
	default:
		granted = append(granted, "windows on the screen, as an untrusted client")
		not = append(not, "other programs' windows and keys")
	}
	if i.Privileged {
		granted = append(granted, "root's own ids: privileged, an error in the kernel is an error in the wall")
	}
	return granted, append(not, "sound, microphone, camera, devices", "your environment, your files, your D-Bus")
}

// diskUsed sums what the files below a folder take, in bytes; hard links once.
func diskUsed(dir string) (int64, error) {
	var sum int64
	seen := map[[2]uint64]bool{}
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // it is in use and changes
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if st.Nlink > 1 && !d.IsDir() {
			key := [2]uint64{uint64(st.Dev), st.Ino}
			if seen[key] {
				return nil
			}
			seen[key] = true
		}
		sum += st.Blocks * 512 // stat(2): always units of 512 bytes
		return nil
	})
	return sum, err
}
