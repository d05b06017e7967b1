// Demo shows hutch at work: it makes a container, runs real programs in it on the
// person's screen, or on one of its own where there is none, takes a picture, and
// tries from inside what a container may and may not do.
//
// All of it happens on a simulated workstation (internal/testenv), so that neither
// the machine's own network nor a hutch that is installed takes part; the package
// servers of its Internet are the real ones.
//
//	demo          make what is missing, show it, take demo.png
//	demo -clean   take every trace away
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/testenv"
	"github.com/hutch-project/hutch/internal/undo"
)

// root is what hutch takes for "/": what a demo keeps for the next one is here.
const root = "/var/lib/hutch-demo"

// picture is the file, in the folder that make was called in.
const picture = "demo.png"

func main() {
	clean := flag.Bool("clean", false, "take every trace of the demo away")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	err := run(ctx, *clean)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, clean bool) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("containers of the system scope are root's; run 'sudo make demo'")
	}
	unlock, err := alone()
	if err != nil {
		return err
	}
	defer unlock()
	bin, err := programs()
	if err != nil {
		return err
	}
	var back undo.Stack
	defer func() { err = errors.Join(err, back.Unwind()) }()
	h := &hutch{bin: bin}
	if clean {
		return h.clean(ctx, &back)
	}
	return h.demo(ctx, &back)
}

// alone makes the root, which belongs to nobody else, and holds its lock.
func alone() (unlock func() error, err error) {
	if err := os.MkdirAll(filepath.Join(root, "etc/hutch"), 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another demo is under way (%s: %w)", root, err)
	}
	return lock.Close, nil
}

// programs is the folder of the programs that were built.
func programs() (string, error) {
	bin := os.Getenv(testenv.BinVariable)
	if bin == "" {
		bin = "bin"
	}
	if _, err := os.Stat(filepath.Join(bin, "hutch")); err != nil {
		return "", fmt.Errorf("%w; run 'make demo', which builds it first", err)
	}
	return filepath.Abs(bin)
}
