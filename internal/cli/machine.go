package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/hutch-project/hutch/internal/doctor"
	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/version"
)

func newDoctor(a *app) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use: "doctor", Short: "Say what this machine lacks for containers, and how to mend it",
		Long: `Look at the kernel, cgroups, ids, firewall, display and programs that containers
need. The exit status is 1 when something is broken.`,
		Example: `  hutch doctor
  hutch doctor --fix`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.flag(c)
	fix := c.Flags().Bool("fix", false, "mend what is hutch's own to mend")
	c.RunE = func(c *cobra.Command, _ []string) error {
		w, asJSON, err := a.listing(f)
		if err != nil {
			return err
		}
		findings, err := w.Doctor(c.Context())
		if err != nil {
			return err
		}
		if *fix {
			mended, err := doctor.Mend(findings)
			for _, m := range mended {
				fmt.Fprintln(os.Stderr, "mended: "+ui.Escape(m))
			}
			if err != nil {
				return err
			}
			if findings, err = w.Doctor(c.Context()); err != nil {
				return err
			}
		}
		if asJSON {
			err = ui.WriteJSON(os.Stdout, findings)
		} else {
			err = tellFindings(findings)
		}
		if s := doctor.ExitStatus(findings); err == nil && s != 0 {
			return status(s)
		}
		return err
	}
	return c
}

func tellFindings(findings []doctor.Finding) error {
	style := ui.StyleFor(os.Stdout)
	paint := map[doctor.Status]func(string) string{doctor.Fine: style.Green, doctor.Limits: style.Yellow, doctor.Broken: style.Red}
	for _, f := range findings {
		// Padded before it is painted: a terminal does not count the colour.
		if _, err := fmt.Printf("%s %s: %s\n", paint[f.Status](fmt.Sprintf("%-7s", f.Status)), ui.Escape(f.Check), ui.Escape(f.Detail)); err != nil {
			return err
		}
		if f.Status == doctor.Fine {
			continue
		}
		for _, line := range [][2]string{{"without it", f.Limits}, {"mend", f.Mend}} {
			label, text := line[0], line[1]
			if text != "" {
				fmt.Printf("        %s: %s\n", label, ui.Escape(text))
			}
		}
	}
	return nil
}

func newCleanup(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "cleanup", Short: "Remove every trace of a crash",
		Long: `Remove every trace that a crash left: unfinished containers and images, runtime
folders, cgroups, processes; and take up again containers that run without their
supervisor. With --all, remove all that hutch ever made on this machine: containers,
images, caches, the network, root's ids. What you wrote in /etc/hutch stays.`,
		Example: `  hutch cleanup
  hutch cleanup --all --yes`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	all := c.Flags().Bool("all", false, "remove everything that hutch ever made, containers and images too")
	yes := c.Flags().BoolP("yes", "y", false, "do not ask")
	c.RunE = func(c *cobra.Command, _ []string) error {
		w, err := a.workspace()
		if err != nil {
			return err
		}
		if *all {
			if !*yes && !confirm("Remove all containers with their files, all images and caches?") {
				return errors.New("nothing was removed; say --yes to mean it")
			}
			return w.CleanupAll(c.Context())
		}
		done, err := w.Cleanup(c.Context())
		for _, line := range done {
			fmt.Println(ui.Escape(line))
		}
		return err
	}
	return c
}

// confirm asks the person at the terminal; nobody there is no.
func confirm(question string) bool {
	if _, ok := ui.TerminalWidth(os.Stdin); !ok {
		return false
	}
	fmt.Fprintf(os.Stderr, "%s [y/N] ", question)
	var answer string
	if _, err := fmt.Fscanln(os.Stdin, &answer); err != nil {
		return false
	}
	return answer == "y" || answer == "Y" || answer == "yes"
}

func newVersion(a *app) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use: "version", Short: "Say which hutch this is",
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.flag(c)
	c.RunE = func(*cobra.Command, []string) error {
		asJSON, err := f.json()
		if err != nil {
			return err
		}
		if asJSON {
			return ui.WriteJSON(os.Stdout, version.Get())
		}
		fmt.Println(version.Get())
		return nil
	}
	return c
}
