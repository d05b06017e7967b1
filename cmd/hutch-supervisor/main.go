// Hutch-supervisor is the host process of one running container. It is started
// by hutch, not by hand.
//
//	hutch-supervisor start        3: order and report, 4: the container's lock
//	hutch-supervisor adopt NAME   the same, without an order
package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	goruntime "runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/container/runtime"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/workspace/supervise"
)

func init() {
	runtime.Reexec()
	// The runtime looks for mounts from inside the container on a thread that it then
	// throws away. The first thread can not be thrown away: it would stay inside, and
	// /proc show us there. So it is main's, and no other goroutine gets it.
	goruntime.LockOSThread()
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hutch-supervisor:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == rootfs.LockArgument {
		return rootfs.LockMain(args[1])
	}
	debug.SetGCPercent(25) // it is idle most of its life
	// Heard by nobody rather than ignored: what is ignored stays so in every program
	// that is started in the container (execve(2)), and Ctrl-C would end none of them.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE)
	layout, err := paths.System()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	agent := supervise.AgentProgram(self)
	switch {
	case len(args) == 1 && args[0] == "start":
		return supervise.Start(layout, agent, log)
	case len(args) == 2 && args[0] == "adopt":
		return supervise.Adopt(layout, agent, args[1], log)
	}
	return fmt.Errorf("is started by hutch, not by hand")
}
