package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/workspace"
)

func newLs(a *app) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List containers",
		Example: `  hutch ls
  hutch ls --format json | jq -r '.[] | select(.state == "running").name'`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.flag(c)
	quiet := c.Flags().BoolP("quiet", "q", false, "names only")
	c.RunE = func(c *cobra.Command, _ []string) error {
		w, asJSON, err := a.listing(f)
		if err != nil {
			return err
		}
		all, broken := w.List()
		switch {
		case *quiet:
			for _, s := range all {
				fmt.Println(s.Name)
			}
		case asJSON:
			err = ui.WriteJSON(os.Stdout, all)
		default:
			err = show(listTable(all, time.Now()))
		}
		if err != nil {
			return err
		}
		return broken
	}
	return c
}

func listTable(all []workspace.Summary, now time.Time) *ui.Table {
	t := ui.NewTable(ui.Column{Title: "NAME", Whole: true}, ui.Column{Title: "STATE", Whole: true}, ui.Column{Title: "SINCE"},
		ui.Column{Title: "IMAGE"}, ui.Column{Title: "ADDRESS", Whole: true})
	for _, s := range all {
		address := ""
		if len(s.Address) > 0 {
			address = s.Address[0]
		}
		t.Row(s.Name, string(s.State), since(s.Since, now), s.Image, address)
	}
	return t
}

// since says how long something has been so; a clock that was set back is no
// negative time.
func since(t *time.Time, now time.Time) string {
	if t == nil {
		return ""
	}
	return ui.Duration(max(0, now.Sub(*t)))
}

func newInfo(a *app) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use: "info NAME", Short: "Show what a container is, uses, and was given",
		Example: `  hutch info ff
  hutch info ff --format json`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.one,
	}
	f.flag(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		w, asJSON, err := a.listing(f)
		if err != nil {
			return err
		}
		i, err := w.Info(c.Context(), args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return ui.WriteJSON(os.Stdout, i)
		}
		_, err = os.Stdout.WriteString(lease(i, time.Now()))
		return err
	}
	return c
}

// lease writes an Info for people.
func lease(i workspace.Info, now time.Time) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", label, ui.Escape(fmt.Sprintf(format, args...)))
	}
	line("Name", "%s", i.Name)
	if i.State == container.Stopped {
		line("State", "stopped")
	} else {
		line("State", "%s for %s", i.State, since(i.Since, now))
	}
	line("Image", "%s (%.19s)", i.Image, i.Digest)
	line("Created", "%s", i.Created.Local().Format(time.DateTime))
	line("User", "%s (%d), ids: %s", i.Person.Name, i.Person.UID, i.IDs)
	if i.Process != 0 {
		line("Init", "%s (process %d on the host)", i.Init, i.Process)
	} else {
		line("Init", "%s", i.Init)
	}
	if i.Lease != nil {
		line("Address", "%s, %s", i.Lease.Address4.Addr(), i.Lease.Address6.Addr())
	}
	if u := i.Usage; u != nil {
		line("Memory", "%s of %s", amount(u.Memory), bound(i.Limits.Memory, amount))
		line("Tasks", "%s of %s", count(u.Tasks), bound(i.Limits.PIDs, count))
		if u.OOMKills > 0 {
			line("", "the memory limit was hit %d times", u.OOMKills)
		}
	} else {
		line("Memory", "at most %s", bound(i.Limits.Memory, amount))
		line("Tasks", "at most %s", bound(i.Limits.PIDs, count))
	}
	if i.Limits.CPUs > 0 {
		line("Processors", "at most %g", i.Limits.CPUs)
	}
	line("Disk", "%s of its own", amount(i.Disk))
	list := func(label string, all []string) {
		for _, s := range all {
			line(label, "%s", s)
			label = ""
		}
	}
	list("May use", i.Granted)
	list("May not use", i.NotGranted)
	return b.String()
}

func amount(n int64) string {
	if n < 0 {
		return "?"
	}
	return ui.Bytes(uint64(n))
}

func count(n int64) string { return fmt.Sprint(n) }

func bound(n int64, say func(int64) string) string {
	if n <= 0 {
		return "any number"
	}
	return say(n)
}
