package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/workspace"
)

// A wanted container, as the options of create and run say it.
type wanted struct {
	install []string
	mounts  []string
	sets    map[string]*string // configuration keys that have an option
	profile string
	yes     bool
}

// optionKeys are the options that are configuration keys of the same name.
var optionKeys = []struct{ key, help string }{
	{"memory", "most memory it may use: a `SIZE` such as 2GiB, half, unlimited"},
	{"cpus", "most processor time it may use, in `PROCESSORS`: 1.5"},
	{"pids", "most `TASKS` it may have"},
	{"network", "`WHAT` it reaches: internet or none"},
	{"display", "`SCREEN` it gets: auto, untrusted, trusted or none"},
	{"ids", "`LAYOUT` of user ids: person, root or private"},
	{"init", "first `PROCESS`: auto, system or app"},
	{"privileged", "give its root the ids of the host's root: `BOOL`; an error in the kernel is then an error in the wall"},
}

func (w *wanted) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&w.install, "install", nil, "`PACKAGES` to install beside the image's, with commas between")
	f.StringArrayVar(&w.mounts, "mount", nil, "lend a folder or file: `SOURCE:TARGET[:ro|rw]`; a relative target is in the home inside")
	f.StringVar(&w.profile, "profile", "", "use the settings of a `PROFILE` (/etc/hutch/profiles/NAME.toml)")
	f.BoolVarP(&w.yes, "yes", "y", false, "allow a mount of the whole home")
	w.sets = map[string]*string{}
	for _, o := range optionKeys {
		w.sets[o.key] = f.String(o.key, "", o.help)
	}
	f.Lookup("privileged").NoOptDefVal = "true"
}

// config writes the options as a container's configuration.
func (w *wanted) config(f *pflag.FlagSet) ([]byte, error) {
	var text []byte
	var err error
	for _, o := range optionKeys {
		if !f.Changed(o.key) {
			continue
		}
		if text, err = config.Set(text, config.Container, o.key, *w.sets[o.key]); err != nil {
			return nil, fmt.Errorf("--%s: %w", o.key, err)
		}
	}
	for _, m := range w.mounts {
		mount, err := config.ParseMount(m)
		if err != nil {
			return nil, fmt.Errorf("--%w", err)
		}
		if text, err = config.AddMount(text, config.Container, mount); err != nil {
			return nil, fmt.Errorf("--mount: %w", err)
		}
	}
	return text, nil
}

// given says whether any option was given that matters when a container is made
// and not later.
func (w *wanted) given(f *pflag.FlagSet) (names []string) {
	for _, name := range []string{"image", "install", "mount", "profile"} {
		if f.Changed(name) {
			names = append(names, "--"+name)
		}
	}
	for _, o := range optionKeys {
		if f.Changed(o.key) {
			names = append(names, "--"+o.key)
		}
	}
	return names
}

func newCreate(a *app) *cobra.Command {
	var w wanted
	c := &cobra.Command{
		Use:   "create NAME IMAGE",
		Short: "Make a container",
		Long: `Make a container from an image. An image that is not in the store is made first,
from the distribution's own packages; that takes a minute, once.`,
		Example: `  hutch create ff debian/bookworm
  hutch create ff debian/bookworm --install firefox-esr --mount ~/Downloads:Downloads:rw
  hutch create calc debian/trixie --network none --memory 1GiB`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	w.flags(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		ws, err := a.workspace()
		if err != nil {
			return err
		}
		o, err := w.options(c.Flags(), args[0], args[1])
		if err != nil {
			return err
		}
		_, err = ws.Create(c.Context(), o)
		return err
	}
	return c
}

// packages splits what --install was given at its commas, and at nothing else: what
// is odd about a name is to be seen by whoever checks names.
func packages(given []string) []string {
	var all []string
	for _, list := range given {
		all = append(all, strings.Split(list, ",")...)
	}
	return all
}

func (w *wanted) options(f *pflag.FlagSet, name, image string) (workspace.CreateOptions, error) {
	text, err := w.config(f)
	if err != nil {
		return workspace.CreateOptions{}, err
	}
	return workspace.CreateOptions{
		Name: name, Image: image, Install: packages(w.install), Profile: w.profile, Config: text, Yes: w.yes,
	}, nil
}
