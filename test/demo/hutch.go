package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/testenv"
	"github.com/hutch-project/hutch/internal/undo"
)

// A hutch is the demo's own, on a simulated workstation.
type hutch struct {
	bin   string
	world *testenv.Workstation
	env   []string // of every command, beside HUTCH_ROOT
}

// secret is in the environment of every command that the demo gives, and must not
// be in that of any program in the container.
const secret = "DEMO_SECRET=known-to-the-host-alone"

// open makes the world. With it ends what runs in it.
func (h *hutch) open(back *undo.Stack) error {
	world, err := testenv.OpenWorkstation()
	if err != nil {
		return err
	}
	back.Push("close the simulated workstation", world.Close)
	if err := world.Mirrors(); err != nil {
		return err
	}
	h.world = world
	h.env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", secret}
	if uid := os.Getenv("SUDO_UID"); uid != "" {
		h.env = append(h.env, "SUDO_UID="+uid)
	}
	return nil
}

// command prepares one of hutch's programs.
func (h *hutch) command(program string, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(h.bin, program), args...)
	c.Env = append([]string{"HUTCH_ROOT=" + root}, h.env...)
	c.Dir = "/"
	return c
}

// run runs one of them to its end. What it says about its progress goes to the
// terminal.
func (h *hutch) run(ctx context.Context, program string, args ...string) (string, error) {
	var out, said bytes.Buffer
	c := h.command(program, args...)
	c.Stdout, c.Stderr = &out, &said
	if isTerminal(os.Stderr) {
		c.Stderr = os.Stderr
	}
	if err := h.world.Start(h.world.Host, c); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Process.Signal(unix.SIGTERM) })
	defer stop()
	if err := c.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", program, strings.Join(args, " "), err, out.String(), said.String())
	}
	return out.String(), nil
}

// inside runs a shell line in the container and returns all that it printed.
func (h *hutch) inside(ctx context.Context, user, line string) (string, error) {
	return h.run(ctx, "hutch", "exec", name, "--user", user, "--", "bash", "-c", "exec 2>&1; "+line)
}

// endPrograms ends the container and hutchd, which can not outlive the world they
// see. Their files stay.
func (h *hutch) endPrograms() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, stopErr := h.run(ctx, "hutch", "stop", "--timeout", "3s", name)
	_, netErr := h.run(ctx, "hutchd", "--cleanup")
	return errors.Join(stopErr, netErr)
}
