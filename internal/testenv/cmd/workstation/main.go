// Workstation runs a command on a simulated workstation: a network namespace that
// plays a host with a LAN neighbour, a way into a simulated Internet and a VPN,
// and a mount namespace of its own. Nothing of it is left afterwards.
//
//	workstation run -- CMD [ARG…]
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/testenv"
)

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "workstation:", err)
	}
	os.Exit(status)
}

func run(args []string) (int, error) {
	if len(args) < 3 || args[0] != "run" || args[1] != "--" {
		return 2, errors.New("usage: workstation run -- CMD [ARG…]")
	}
	w, err := testenv.OpenWorkstation()
	if err != nil {
		return 125, err
	}
	defer w.Close()
	c := exec.Command(args[2], args[3:]...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := w.Start(w.Host, c); err != nil {
		return 127, err
	}
	// A terminal sends the command its own interrupt; others send it here.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		for s := range signals {
			if s != unix.SIGINT {
				c.Process.Signal(s)
			}
		}
	}()
	err = c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}
