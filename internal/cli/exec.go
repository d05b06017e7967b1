package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/attach"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/workspace"
)

// A command to be run inside, as the options say it.
type command struct {
	user     string
	env      []string
	dir      string
	terminal bool
}

func (c *command) flags(f *pflag.FlagSet) {
	f.StringVarP(&c.user, "user", "u", "", "run as `USER[:GROUP]` of the container; root is only there")
	f.StringArrayVarP(&c.env, "env", "e", nil, "set a variable: `NAME=VALUE`, or NAME for its value here")
	f.StringVarP(&c.dir, "workdir", "w", "", "run in this `FOLDER` of the container")
	f.BoolVarP(&c.terminal, "terminal", "t", false, "give it a terminal, even if there is none here")
}

// request turns the options into what the agent is asked.
func (c *command) request(args []string) (control.Exec, error) {
	e := control.Exec{Args: args, User: c.user, Dir: c.dir, Terminal: c.terminal || attach.Interactive()}
	if e.Terminal {
		e.Term = os.Getenv("TERM")
		if e.Term == "" {
			e.Term = "xterm-256color"
		}
	}
	for _, entry := range c.env {
		name, _, hasValue := strings.Cut(entry, "=")
		if name == "" {
			return e, fmt.Errorf("--env %q: there is no name in it", entry)
		}
		if !hasValue {
			value, set := os.LookupEnv(name)
			if !set {
				continue
			}
			entry = name + "=" + value
		}
		e.Env = append(e.Env, entry)
	}
	return e, nil
}

// inside runs a command in a container that runs. The quick way needs nothing but
// the agent's socket; only where nobody answers on it is the workspace opened.
func (a *app) inside(ctx context.Context, name string, e control.Exec) error {
	if err := container.CheckName(name); err != nil {
		return fail(err)
	}
	if err := workspace.RequireRoot(); err != nil {
		return fail(err)
	}
	layout, err := paths.System()
	if err != nil {
		return fail(err)
	}
	if ctx.Err() != nil { // from here on, signals are the program's
		return context.Cause(ctx)
	}
	code, err := attach.Run(context.WithoutCancel(ctx), layout.ContainerRuntime(name), e, attach.Own())
	if errors.Is(err, attach.ErrUnreachable) {
		w, openErr := a.workspace()
		if openErr != nil {
			return fail(openErr)
		}
		if err := w.Wake(ctx, name); err != nil {
			return fail(err)
		}
		code, err = attach.Run(context.WithoutCancel(ctx), layout.ContainerRuntime(name), e, attach.Own())
	}
	var inside *attach.Failure
	if errors.As(err, &inside) {
		fmt.Fprintf(os.Stderr, "hutch: %s: %s\n", name, ui.EscapeText(inside.Message))
		return status(inside.Status)
	}
	if err != nil {
		return fail(fmt.Errorf("%s: %w", name, err))
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// fail prints an error of hutch's own where the exit status else is the
// program's.
func fail(err error) error {
	fmt.Fprintln(os.Stderr, "hutch: "+ui.EscapeText(err.Error()))
	return status(control.StatusFailed)
}

func newExec(a *app) *cobra.Command {
	var cmd command
	c := &cobra.Command{
		Use:   "exec NAME [--] COMMAND [ARGUMENT...]",
		Short: "Run a command in a container that runs",
		Long: `Run a command in a container that runs, as you or as another user of it.

The exit status is the command's, 128+n when signal n ended it, 125 when hutch
failed, 126 when the command could not be executed, 127 when it was not found.
Signals and the size of the terminal are passed on.`,
		Example: `  hutch exec ff -- xeyes
  hutch exec ff --user root -- apt-get install -y vlc
  tar c . | hutch exec ff -- tar x -C /tmp`,
		Args:              nameAndCommand(1),
		ValidArgsFunction: a.one,
	}
	cmd.flags(c.Flags())
	c.Flags().SetInterspersed(false)
	c.RunE = func(c *cobra.Command, args []string) error {
		if help, _ := c.Flags().GetBool("help"); help {
			return c.Help()
		}
		e, err := cmd.request(c.Flags().Args())
		if err != nil {
			return fail(err)
		}
		return a.inside(c.Context(), args[0], e)
	}
	return c
}

// nameAndCommand are a container's name and a command of at least so many words.
// Options stand on both sides of the name; from the command on, all words are the
// command's. The command is then what is left of the command's flags.
func nameAndCommand(words int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("which container? its name is missing")
		}
		if err := c.Flags().Parse(args[1:]); err != nil {
			return err
		}
		if help, _ := c.Flags().GetBool("help"); !help && c.Flags().NArg() < words {
			return errors.New("which command? 'hutch shell' opens a shell")
		}
		return nil
	}
}

func newShell(a *app) *cobra.Command {
	var cmd command
	c := &cobra.Command{
		Use:   "shell NAME",
		Short: "Open a shell in a container, starting it if need be",
		Long:  "Open a login shell in a container, as you or as another user of it.",
		Example: `  hutch shell ff
  hutch shell ff --user root`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.one,
	}
	cmd.flags(c.Flags())
	c.RunE = func(c *cobra.Command, args []string) error {
		e, err := cmd.request(nil)
		if err != nil {
			return fail(err)
		}
		e.Login = true
		w, err := a.workspace()
		if err != nil {
			return fail(err)
		}
		if err := w.Start(c.Context(), args[0]); err != nil {
			return fail(err)
		}
		return a.inside(c.Context(), args[0], e)
	}
	return c
}

func newRun(a *app) *cobra.Command {
	var cmd command
	var w wanted
	var image string
	c := &cobra.Command{
		Use:   "run NAME [--] [COMMAND [ARGUMENT...]]",
		Short: "Run a program in a container, making all that is missing",
		Long: `Run a program in a container: the command of every day. A container that is not
there is made, from --image; one that does not run is started; without a command
it is a shell.

The exit status is the program's, as with 'hutch exec'.`,
		Example: `  hutch run ff --image debian/bookworm --install firefox-esr -- firefox-esr
  hutch run ff -- firefox-esr https://example.org
  hutch run box --image debian/trixie --mount ~/src:src:rw -- make -C src`,
		Args:              nameAndCommand(0),
		ValidArgsFunction: a.one,
	}
	cmd.flags(c.Flags())
	w.flags(c.Flags())
	c.Flags().StringVar(&image, "image", "", "`IMAGE` to make the container from, if it is not there")
	c.Flags().SetInterspersed(false)
	c.RunE = func(c *cobra.Command, args []string) error {
		if help, _ := c.Flags().GetBool("help"); help {
			return c.Help()
		}
		e, err := cmd.request(c.Flags().Args())
		if err != nil {
			return fail(err)
		}
		e.Login = len(e.Args) == 0
		ws, err := a.workspace()
		if err != nil {
			return fail(err)
		}
		o, err := w.options(c.Flags(), args[0], image)
		if err != nil {
			return fail(err)
		}
		made, err := ws.Ensure(c.Context(), o)
		if err != nil && c.Context().Err() != nil {
			return err
		}
		if err != nil {
			return fail(err)
		}
		if given := w.given(c.Flags()); !made && len(given) > 0 {
			a.log.Warn(fmt.Sprintf("%s is there already: %s changes nothing; 'hutch config set' and 'hutch mount' do", args[0], strings.Join(given, ", ")))
		}
		a.progress.Close(true)
		return a.inside(c.Context(), args[0], e)
	}
	return c
}
