package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/hutch-project/hutch/internal/ui"
)

func newLogs(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "logs NAME", Short: "Show what was written on a container's console",
		Long: `Show what was written on a container's console. On a terminal, what would control
it is shown, not obeyed.`,
		Example: `  hutch logs ff
  hutch logs --follow ff`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.one,
	}
	follow := c.Flags().BoolP("follow", "f", false, "go on with what is written from now on")
	c.RunE = func(c *cobra.Command, args []string) error {
		w, err := a.workspace()
		if err != nil {
			return err
		}
		out := io.Writer(os.Stdout)
		if term.IsTerminal(int(os.Stdout.Fd())) {
			out = escaped{os.Stdout}
		}
		return w.Logs(c.Context(), args[0], out, *follow)
	}
	return c
}

// escaped shows what would control a terminal instead of sending it.
type escaped struct{ w io.Writer }

func (e escaped) Write(p []byte) (int, error) {
	text := make([]byte, 0, len(p))
	for i, b := range p { // consoles end lines with CR LF
		if b != '\r' || i+1 < len(p) && p[i+1] != '\n' {
			text = append(text, b)
		}
	}
	if _, err := io.WriteString(e.w, ui.EscapeText(string(text))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func newConsole(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "console NAME", Short: "Join a container's console; Ctrl-] leaves it",
		Example: `  hutch console ff`,
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.one,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := a.workspace()
			if err != nil {
				return err
			}
			if term.IsTerminal(int(os.Stdin.Fd())) {
				fmt.Fprintf(os.Stderr, "joined the console of %s; Ctrl-] leaves it\n", args[0])
			}
			return w.Console(c.Context(), args[0])
		},
	}
}
