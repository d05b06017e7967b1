package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/workspace"
)

func newConfig(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "config", Short: "Read and change a container's settings",
		Long: `Read and change a container's settings. They lie over those of its profile
(/etc/hutch/profiles/NAME.toml), which lie over those of the machine
(/etc/hutch/hutch.toml). 'hutch config reference' lists every key.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newConfigGet(a), newConfigSet(a), newConfigUnset(a), newConfigEdit(a), newConfigShow(a), newConfigReference())
	return c
}

// key completes a container's name, then a key.
func (a *app) key(c *cobra.Command, done []string, begun string) ([]string, cobra.ShellCompDirective) {
	switch len(done) {
	case 0:
		return a.names(c, done, begun)
	case 1:
		return config.Keys(), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// settings are those of a container, as all files have them.
func (a *app) settings(name string) (config.Config, error) {
	w, err := a.workspace()
	if err != nil {
		return config.Config{}, err
	}
	r, err := w.Records.Load(name)
	if err != nil {
		return config.Config{}, err
	}
	return w.Settings(r)
}

func newConfigGet(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "get NAME KEY", Short: "Show the value of a key",
		Example: `  hutch config get ff memory`,
		Args:    cobra.ExactArgs(2), ValidArgsFunction: a.key,
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.settings(args[0])
			if err != nil {
				return err
			}
			value, set, err := s.Get(args[1])
			if err != nil {
				return err
			}
			if !set {
				return fmt.Errorf("%s has no value for %s", args[0], args[1])
			}
			fmt.Println(ui.Escape(value))
			return nil
		},
	}
}

func newConfigSet(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "set NAME KEY VALUE", Short: "Change the value of a key",
		Long: `Change the value of a key of a container. What can be changed while it runs is
changed at once; for the rest it says that it waits for a restart.`,
		Example: `  hutch config set ff memory 2GiB
  hutch config set ff environment.LANG de_DE.UTF-8
  hutch config set ff network none`,
		Args: cobra.ExactArgs(3), ValidArgsFunction: a.key,
		RunE: func(c *cobra.Command, args []string) error {
			return a.change(c, args[0], func(file []byte) ([]byte, error) {
				return config.Set(file, config.Container, args[1], args[2])
			})
		},
	}
	c.Flags().SetInterspersed(false) // a value may begin with a hyphen
	return c
}

func newConfigUnset(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unset NAME KEY", Short: "Take back a container's own value of a key",
		Example: `  hutch config unset ff memory`,
		Args:    cobra.ExactArgs(2), ValidArgsFunction: a.key,
		RunE: func(c *cobra.Command, args []string) error {
			return a.change(c, args[0], func(file []byte) ([]byte, error) {
				return config.Unset(file, config.Container, args[1])
			})
		},
	}
}

func (a *app) change(c *cobra.Command, name string, change func([]byte) ([]byte, error)) error {
	w, err := a.workspace()
	if err != nil {
		return err
	}
	waiting, err := w.EditConfig(c.Context(), name, change)
	if err == nil && len(waiting) > 0 {
		fmt.Fprintf(os.Stderr, "%s waits for 'hutch restart %s'\n", strings.Join(waiting, ", "), name)
	}
	return err
}

func newConfigEdit(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "edit NAME", Short: "Open a container's settings in $EDITOR",
		Long:    "Open a container's settings in $VISUAL or $EDITOR. They are checked before they take the place of the old.",
		Example: `  hutch config edit ff`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.one,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := a.workspace()
			if err != nil {
				return err
			}
			if _, err := w.Records.Load(args[0]); err != nil {
				return err
			}
			text, err := edit(w, args[0])
			if err != nil {
				return err
			}
			return a.change(c, args[0], func([]byte) ([]byte, error) { return text, nil })
		},
	}
}

// edit lets the person change a copy of the file, and returns what became of it.
func edit(w *workspace.Workspace, name string) ([]byte, error) {
	before, err := config.ReadFile(w.ConfigFile(name), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.CreateTemp("", "hutch-"+name+"-*.toml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(before)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	editor := []string{"editor"} // Debian policy, section 11.4
	for _, variable := range []string{"VISUAL", "EDITOR"} {
		if words := strings.Fields(os.Getenv(variable)); len(words) > 0 {
			editor = words
			break
		}
	}
	e := exec.Command(editor[0], append(editor[1:], f.Name())...)
	e.Stdin, e.Stdout, e.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := e.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w; nothing was changed", editor[0], err)
	}
	return os.ReadFile(f.Name())
}

func newConfigShow(a *app) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use: "show [NAME]", Short: "Show all values, of a container or of a new one",
		Example: `  hutch config show ff --origin`,
		Args:    cobra.MaximumNArgs(1), ValidArgsFunction: a.one,
	}
	f.flag(c)
	origin := c.Flags().Bool("origin", false, "say which file each value is from")
	c.RunE = func(c *cobra.Command, args []string) error {
		asJSON, err := f.json()
		if err != nil {
			return err
		}
		var s config.Config
		if len(args) == 1 {
			s, err = a.settings(args[0])
		} else {
			w, openErr := a.workspace()
			if openErr != nil {
				return openErr
			}
			s, err = w.MachineSettings()
		}
		if err != nil {
			return err
		}
		if asJSON {
			return ui.WriteJSON(os.Stdout, s.Entries())
		}
		columns := []ui.Column{{Title: "KEY", Whole: true}, {Title: "VALUE"}}
		if *origin {
			columns = append(columns, ui.Column{Title: "FROM"})
		}
		t := ui.NewTable(columns...)
		for _, e := range s.Entries() {
			t.Row(e.Key, e.Value, e.Origin.String())
		}
		return show(t)
	}
	return c
}

func newConfigReference() *cobra.Command {
	return &cobra.Command{
		Use: "reference", Short: "Show every key with its default and what it means",
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			_, err := os.Stdout.Write(config.Reference)
			return err
		},
	}
}
