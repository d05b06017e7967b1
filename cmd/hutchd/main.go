// Hutchd keeps the network of containers: the router between them and everything
// else. It runs as root, one per machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network/netd"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/systemd"
	"github.com/hutch-project/hutch/internal/version"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "hutchd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("hutchd", flag.ContinueOnError)
	idle := flags.Duration("idle", 60*time.Second, "withdraw and end after this time without a container; 0 is never")
	cleanup := flags.Bool("cleanup", false, "stop a running hutchd, remove all it has made on this machine, and end")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	showVersion := flags.Bool("version", false, "print the version and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q: hutchd takes none", flags.Arg(0))
	}
	if *idle < 0 {
		return fmt.Errorf("--idle=%v: must not be negative", *idle)
	}
	if *showVersion {
		fmt.Println("hutchd", version.Get())
		return nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(*level)); err != nil {
		return fmt.Errorf("--log-level=%q: must be debug, info, warn or error", *level)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l}))
	layout, err := paths.System()
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("must be run as root")
	}
	if err := sys.KeepCapabilities(capabilities...); err != nil {
		return err
	}
	if *cleanup {
		return netd.Cleanup(layout)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	go func() {
		if err := systemd.OwnScope(ctx, layout.Cgroup+"d", "hutchd, the network of containers"); err != nil {
			log.Warn("hutchd ends with the session that it was started in", "error", err)
		}
	}()
	return netd.Run(ctx, netd.Options{Layout: layout, Idle: *idle, Version: version.Get().Version, Log: log, Services: netd.Answers(log)})
}

// capabilities are all that hutchd keeps of root's: to enter and bind the router's
// namespace, to make links and rules, to listen on the ports of DHCP and DNS, and
// to send the frames of DHCP.
var capabilities = []int{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW}
