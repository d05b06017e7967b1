package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hutch-project/hutch/internal/workspace"
)

func newStart(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "start NAME...", Short: "Start containers",
		Example: `  hutch start ff`,
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: a.names,
		RunE: func(c *cobra.Command, args []string) error {
			return a.each(args, func(w *workspace.Workspace, name string) error { return w.Start(c.Context(), name) })
		},
	}
}

// stopFlags are the options of everything that stops.
func stopFlags(c *cobra.Command) func() (workspace.StopOptions, error) {
	timeout := c.Flags().DurationP("timeout", "t", 0, "`TIME` to end by itself before it is killed (default: the key stop-timeout)")
	force := c.Flags().BoolP("force", "f", false, "kill it at once")
	return func() (workspace.StopOptions, error) {
		o := workspace.StopOptions{Timeout: -1, Force: *force}
		if c.Flags().Changed("timeout") {
			if *timeout < 0 || *timeout > 24*time.Hour {
				return o, &usageError{c.CommandPath(), fmt.Errorf("--timeout %v: use a time such as 10s, up to 24h", *timeout)}
			}
			o.Timeout = *timeout
		}
		return o, nil
	}
}

func newStop(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "stop NAME...", Short: "End containers",
		Long: `Ask containers to end, and kill those that do not in time.`,
		Example: `  hutch stop ff
  hutch stop --timeout 1m db
  hutch stop --force ff`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.names,
	}
	options := stopFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		return a.each(args, func(w *workspace.Workspace, name string) error { return w.Stop(c.Context(), name, o) })
	}
	return c
}

func newRestart(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "restart NAME...", Short: "End containers and start them again",
		Example: `  hutch restart ff`,
		Args:    cobra.MinimumNArgs(1), ValidArgsFunction: a.names,
	}
	options := stopFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		o, err := options()
		if err != nil {
			return err
		}
		return a.each(args, func(w *workspace.Workspace, name string) error {
			if err := w.Stop(c.Context(), name, o); err != nil {
				return err
			}
			return w.Start(c.Context(), name)
		})
	}
	return c
}

func newRm(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "rm NAME...", Aliases: []string{"remove"}, Short: "Remove containers and all their files",
		Long: `Remove containers and everything that was written in them. Folders that were
lent are not touched; images stay (see 'hutch image prune').`,
		Example: `  hutch rm ff
  hutch rm --force ff gg`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.names,
	}
	force := c.Flags().BoolP("force", "f", false, "end it first if it runs; none of that name is no error")
	c.RunE = func(c *cobra.Command, args []string) error {
		return a.each(args, func(w *workspace.Workspace, name string) error {
			err := w.Remove(c.Context(), name, *force)
			if *force && errors.Is(err, workspace.ErrNotExist) {
				return nil
			}
			return err
		})
	}
	return c
}

// each does something for every name and goes on after a failure.
func (a *app) each(names []string, do func(*workspace.Workspace, string) error) error {
	w, err := a.workspace()
	if err != nil {
		return err
	}
	var failures []error
	for _, name := range names {
		failures = append(failures, do(w, name))
	}
	return errors.Join(failures...)
}
