package cli

import (
	"github.com/spf13/cobra"

	"github.com/hutch-project/hutch/internal/config"
)

func newMount(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "mount NAME SOURCE:TARGET[:ro|rw]", Short: "Lend a folder, file or socket to a container",
		Long: `Lend a folder, file or socket of the host, read-only unless :rw is said. It is
there at once, and after every start. A relative target is in the home inside; what
is missing of it is made.`,
		Example: `  hutch mount ff ~/Videos:Videos
  hutch mount ff ~/Downloads:Downloads:rw
  hutch mount ff /srv/fonts:/usr/local/share/fonts`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: a.one,
	}
	yes := c.Flags().BoolP("yes", "y", false, "allow the whole home")
	c.RunE = func(c *cobra.Command, args []string) error {
		m, err := config.ParseMount(args[1])
		if err != nil {
			return &usageError{c.CommandPath(), err}
		}
		w, err := a.workspace()
		if err != nil {
			return err
		}
		return w.Mount(c.Context(), args[0], m, *yes)
	}
	return c
}

func newUnmount(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unmount NAME TARGET", Aliases: []string{"umount"}, Short: "Take back what was lent to a container",
		Example: `  hutch unmount ff Videos`,
		Args:    cobra.ExactArgs(2), ValidArgsFunction: a.one,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := a.workspace()
			if err != nil {
				return err
			}
			return w.Unmount(c.Context(), args[0], args[1])
		},
	}
}
