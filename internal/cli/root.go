package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/version"
	"github.com/hutch-project/hutch/internal/workspace"
)

// An app is what all verbs share: the options before the verb, the log, the way
// to the workspace.
type app struct {
	start    time.Time
	debug    bool
	logFile  string
	logLevel string

	log      *slog.Logger
	closeLog io.Closer
	progress *ui.Progress
}

// A status is an exit status that has been explained already, or needs no words.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// Main runs the command line and returns the exit status: 0 done, 1 not done, 2
// the words were wrong; of run, exec and shell the program's own, 125 where hutch
// failed or the words were wrong, 126 and 127 as a shell has them.
func Main(args []string) int {
	a := &app{start: time.Now()}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if a.progress != nil {
		a.progress.Close(err == nil)
	}
	if a.closeLog != nil {
		if closeErr := a.closeLog.Close(); err == nil {
			err = closeErr
		}
	}
	return explain(ctx, os.Stderr, err)
}

// explain says what went wrong and returns the exit status for it.
func explain(ctx context.Context, stderr io.Writer, err error) int {
	var s status
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &s):
		return int(s)
	case ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		fmt.Fprintln(stderr, "hutch: interrupted; what was begun has been undone")
		return 128 + int(unix.SIGINT)
	}
	fmt.Fprintln(stderr, "hutch: "+ui.EscapeText(err.Error()))
	if errors.As(err, &usage) {
		fmt.Fprintf(stderr, "see '%s --help'\n", usage.command)
		return usage.status()
	}
	return 1
}

// A usageError says that the words on the command line were wrong.
type usageError struct {
	command string
	err     error
}

// status is 2; but with the verbs whose exit status is a program's own, that of
// hutch's own failures.
func (u *usageError) status() int {
	switch u.command {
	case "hutch run", "hutch exec", "hutch shell":
		return control.StatusFailed
	}
	return 2
}

func (u *usageError) Error() string { return u.err.Error() }
func (u *usageError) Unwrap() error { return u.err }

// Root returns the command tree, for those who write its papers.
func Root() *cobra.Command { return newRoot(&app{start: time.Now()}) }

func newRoot(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "hutch",
		Short: "Run programs you do not trust in containers of their own",
		Long: `hutch keeps programs that you do not trust, or whose dependencies do not fit your
system, in containers: each with a clean environment, the folders you lend it, a
window on your screen, the Internet, and nothing else of your machine or home network.`,
		Example: `  sudo hutch run ff --image debian/bookworm --install x11-apps -- xeyes
  sudo hutch shell ff
  sudo hutch ls
  sudo hutch rm --force ff`,
		Version:           version.Get().String(),
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.NoArgs,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return a.openLog() },
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SetVersionTemplate("{{.Version}}\n")
	c.CompletionOptions.HiddenDefaultCmd = false
	flags := c.PersistentFlags()
	flags.BoolVar(&a.debug, "debug", false, "show every step with its time")
	flags.StringVar(&a.logFile, "log-file", "", "write the steps to a `FILE`")
	flags.StringVar(&a.logLevel, "log-level", "debug", "what goes to the log file: trace, debug, info, warn or error")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &usageError{c.CommandPath(), err} })
	c.AddGroup(
		&cobra.Group{ID: "everyday", Title: "Everyday:"},
		&cobra.Group{ID: "containers", Title: "Containers:"},
		&cobra.Group{ID: "machine", Title: "Images, settings, the machine:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, sub := range commands {
			sub.GroupID = group
			c.AddCommand(sub)
		}
	}
	add("everyday", newRun(a), newShell(a), newExec(a), newLs(a), newInfo(a))
	add("containers", newCreate(a), newStart(a), newStop(a), newRestart(a), newRm(a), newMount(a), newUnmount(a), newLogs(a), newConsole(a))
	add("machine", newImage(a), newConfig(a), newDoctor(a), newCleanup(a), newVersion(a))
	wrapArgs(c)
	c.SetHelpCommand(newHelp(c))
	return c
}

// wrapArgs makes wrong arguments usage errors.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{c.CommandPath(), err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

// newHelp is cobra's own but for a verb that there is not: that is an error.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Say how a command is used",
		ValidArgsFunction: func(_ *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if c, _, err := root.Find(done); err == nil {
				for _, sub := range c.Commands() {
					if sub.IsAvailableCommand() {
						names = append(names, sub.Name())
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			c, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("unknown command %q for %q", rest[0], c.CommandPath())
			}
			if err != nil {
				return &usageError{root.CommandPath(), err}
			}
			return c.Help()
		},
	}
}

func (a *app) openLog() error {
	level, err := ui.ParseLevel(a.logLevel)
	if err != nil {
		return &usageError{"hutch", err}
	}
	a.log, a.closeLog, err = ui.NewLogger(ui.LogOptions{
		Stderr: os.Stderr, Debug: a.debug, File: a.logFile, Level: level, Start: a.start,
	})
	return err
}

// workspace opens the workspace of the system scope.
func (a *app) workspace() (*workspace.Workspace, error) {
	if err := workspace.RequireRoot(); err != nil {
		return nil, err
	}
	a.progress = ui.NewProgress(os.Stderr)
	return workspace.Open(a.log, a.progress)
}

// names completes container names.
func (a *app) names(_ *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	const no = cobra.ShellCompDirectiveNoFileComp
	if a.openLog() != nil {
		return nil, no
	}
	w, err := a.workspace()
	if err != nil {
		return nil, no
	}
	names, err := w.Records.Names()
	if err != nil {
		return nil, no
	}
	return names, no
}

// one completes the name that comes first, and nothing behind it.
func (a *app) one(c *cobra.Command, done []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(done) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return a.names(c, done, begun)
}

// format is the option --format of everything that lists.
type format struct{ value string }

func (f *format) flag(c *cobra.Command) {
	c.Flags().StringVar(&f.value, "format", "table", "`FORMAT` of the output: table or json")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *format) json() (bool, error) {
	switch f.value {
	case "table":
		return false, nil
	case "json":
		return true, nil
	}
	return false, &usageError{"hutch", fmt.Errorf("--format %q: use table or json", f.value)}
}

// show writes a table, as wide as the terminal.
func show(t *ui.Table) error {
	width, _ := ui.TerminalWidth(os.Stdout)
	return t.Write(os.Stdout, width)
}

// listing opens the workspace for a verb that lists, after the words were
// understood, and says in which form its output is.
func (a *app) listing(f format) (w *workspace.Workspace, asJSON bool, err error) {
	if asJSON, err = f.json(); err != nil {
		return nil, false, err
	}
	w, err = a.workspace()
	return w, asJSON, err
}
