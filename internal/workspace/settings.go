package workspace

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/grant"
	"github.com/hutch-project/hutch/internal/container/order"
)

// ConfigFile is a container's own configuration.
func (w *Workspace) ConfigFile(name string) string {
	return filepath.Join(w.Layout.Container(name), "config.toml")
}

// settings are the layers below a container's own, of a profile or of none.
func (w *Workspace) settings(profile string) ([]config.Layer, error) {
	machine, err := config.LoadOptional(w.Layout.ConfigFile(), config.Machine, 0)
	if err != nil {
		return nil, err
	}
	if profile == "" {
		return []config.Layer{machine}, nil
	}
	if err := container.CheckName(profile); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	p, err := config.Load(w.Layout.ProfileFile(profile), config.Profile, 0)
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", profile, err)
	}
	return []config.Layer{machine, p}, nil
}

// Settings is the configuration of a container as all its files have it.
func (w *Workspace) Settings(r container.Record) (config.Config, error) {
	layers, err := w.settings(r.Profile)
	if err != nil {
		return config.Config{}, err
	}
	own, err := config.LoadOptional(w.ConfigFile(r.Name), config.Container, 0)
	if err != nil {
		return config.Config{}, err
	}
	return config.Resolve(append(layers, own)...), nil
}

// MachineSettings is the configuration that a new container would get.
func (w *Workspace) MachineSettings() (config.Config, error) {
	layers, err := w.settings("")
	return config.Resolve(layers...), err
}

// ids returns the layout of ids that a configuration comes to for a person: one
// who is root can only have the private one, which is then the default.
func ids(c config.Config, p container.Person) config.IDs {
	if p.UID == 0 && c.Origins["ids"].Source == "" {
		return config.IDsPrivate
	}
	return c.IDs
}

// lent are the mounts of a configuration, with every path made absolute.
func (w *Workspace) lent(c config.Config, p container.Person, home bool) ([]order.Lent, error) {
	var all []order.Lent
	for _, m := range c.Mounts {
		l, err := w.lend(m, p, home)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (w *Workspace) lend(m config.Mount, p container.Person, home bool) (order.Lent, error) {
	l := order.Lent{Source: m.Source, Target: m.Target, ReadOnly: m.Mode == config.ReadOnly, Optional: m.Optional}
	if m.Source == "~" || strings.HasPrefix(m.Source, "~/") {
		l.Source = filepath.Join(p.Home, m.Source[1:])
	}
	if !path.IsAbs(m.Target) {
		l.Target = path.Join(p.Home, m.Target)
	}
	// A link is followed now, once; the supervisor refuses one that appears later.
	resolved, err := filepath.EvalSymlinks(l.Source) //nolint:forbidigo // the result is opened without following links
	switch {
	case os.IsNotExist(err) && l.Optional:
		return l, nil
	case os.IsNotExist(err):
		return l, fmt.Errorf("mount %s: there is no such file or folder on the host", l.Source)
	case err != nil:
		return l, fmt.Errorf("mount: %w", err)
	}
	l.Source = resolved
	return l, grant.CheckSource(resolved, grant.Facts{
		Home: p.Home, UID: p.UID, HomeAllowed: home,
		Own: []string{w.Layout.State, w.Layout.Runtime, w.Layout.Config, w.Layout.Cache, w.Layout.Netd},
	})
}

// machineMemory is how much memory the machine has.
func machineMemory() (config.Bytes, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, is := strings.CutPrefix(line, "MemTotal:"); is {
			fields := strings.Fields(rest)
			if len(fields) > 0 {
				kib, err := strconv.ParseUint(fields[0], 10, 64)
				return config.Bytes(kib) * config.KiB, err
			}
		}
	}
	return 0, fmt.Errorf("/proc/meminfo does not say how much memory there is")
}
