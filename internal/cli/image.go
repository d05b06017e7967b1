package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hutch-project/hutch/internal/image"
	"github.com/hutch-project/hutch/internal/ui"
)

func newImage(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "image", Short: "List and remove images",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newImageLs(a), newImageRm(a), newImagePrune(a))
	return c
}

func newImageLs(a *app) *cobra.Command {
	var f format
	c := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the images in the store",
		Example: `  hutch image ls`,
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
	}
	f.flag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		w, asJSON, err := a.listing(f)
		if err != nil {
			return err
		}
		all, broken := w.Images()
		if asJSON {
			return errors.Join(ui.WriteJSON(os.Stdout, all), broken)
		}
		t := ui.NewTable(ui.Column{Title: "IMAGE"}, ui.Column{Title: "DIGEST", Whole: true}, ui.Column{Title: "SIZE", Right: true},
			ui.Column{Title: "AGE"}, ui.Column{Title: "CONTAINERS"})
		for _, i := range all {
			t.Row(i.Reference, fmt.Sprintf("%.19s", i.Digest), amount(i.Size), since(&i.Created, time.Now()), strings.Join(i.Containers, " "))
		}
		return errors.Join(show(t), broken)
	}
	return c
}

func newImageRm(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm IMAGE...", Aliases: []string{"remove"}, Short: "Remove images that no container uses",
		Example: `  hutch image rm debian/bookworm`,
		Args:    cobra.MinimumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			if a.openLog() != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			w, err := a.workspace()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			all, _ := w.Images()
			var names []string
			for _, i := range all {
				names = append(names, i.Reference)
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			w, err := a.workspace()
			if err != nil {
				return err
			}
			var failures []error
			for _, name := range args {
				gone, err := w.RemoveImage(c.Context(), name)
				tellRemoved(gone)
				failures = append(failures, err)
			}
			return errors.Join(failures...)
		},
	}
}

func newImagePrune(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "prune", Short: "Remove all images that no container uses",
		Example: `  hutch image prune`,
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			w, err := a.workspace()
			if err != nil {
				return err
			}
			gone, err := w.PruneImages(c.Context())
			tellRemoved(gone)
			return err
		},
	}
}

func tellRemoved(gone []image.Image) {
	for _, i := range gone {
		fmt.Printf("removed %s, %s\n", ui.Escape(i.Reference), amount(i.Size))
	}
}
