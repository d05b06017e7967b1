// Hutch-agent runs inside a container: resident, to start commands, or as the
// first process of a container without an init of its own.
//
//	hutch-agent serve USER   3: listening socket, 4: the console, 5: this program
//	hutch-agent once USER    3: one connection, 4: this program
//	hutch-agent init         as process 1; 3: this program
package main

import (
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"syscall"

	"github.com/hutch-project/hutch/internal/container/agent"
	"github.com/hutch-project/hutch/internal/container/control"
)

func main() {
	// It lives as long as the container and is idle most of the time.
	debug.SetGCPercent(25)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hutch-agent:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "init":
		syscall.Close(3)
		os.Exit(agent.Init())
	case len(args) == 2 && args[0] == "serve":
		f := os.NewFile(3, "listener")
		l, err := net.FileListener(f)
		if err != nil {
			return err
		}
		f.Close()
		syscall.Close(5)
		syscall.CloseOnExec(4)
		d := defaults(args[1])
		d.Console = os.NewFile(4, "console")
		return agent.Serve(l.(*net.UnixListener), d)
	case len(args) == 2 && args[0] == "once":
		f := os.NewFile(3, "connection")
		c, err := net.FileConn(f)
		if err != nil {
			return err
		}
		f.Close()
		syscall.Close(4)
		agent.ServeConn(c.(*net.UnixConn), defaults(args[1]))
	default:
		return fmt.Errorf("is started by hutch, not by hand")
	}
	return nil
}

func defaults(user string) agent.Defaults {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool { return entry == control.NoHome })
	return agent.Defaults{User: user, Env: env}
}
