package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/display"
	"github.com/hutch-project/hutch/internal/testenv"
	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/undo"
)

// A screen is what the windows are shown on.
type screen struct {
	display desktop.Display
	words   string   // what it is
	persons bool     // the person is looking at it
	env     []string // with which a program of the host finds it
}

// Size of a screen of the demo's own.
const width, height = 1000, 640

// screen finds the person's, or makes one where there is none that untrusted
// programs may be let near.
func (h *hutch) screen(ctx context.Context, back *undo.Stack) (*screen, error) {
	d, _, err := desktop.Decide(desktop.Gather(ctx, desktop.Person(os.Getenv), os.Getenv))
	if err == nil {
		var server display.Server
		server, err = display.Probe(ctx, d)
		if err == nil && !server.Security {
			err = fmt.Errorf("display :%d: its server has no SECURITY extension", d.Number)
		}
	}
	s := &screen{display: d, words: fmt.Sprintf("yours, :%d", d.Number), persons: true}
	if err != nil {
		if s, err = ownScreen(err, back); err != nil {
			return nil, err
		}
	}
	if s.display.Address != (desktop.Address{Network: desktop.Unix, Path: desktop.SocketPath(s.display.Number)}) {
		if err := h.forward(s.display, back); err != nil {
			return nil, err
		}
	}
	s.env = []string{fmt.Sprintf("DISPLAY=:%d", s.display.Number)}
	if s.display.AuthorityFile != "" {
		s.env = append(s.env, "XAUTHORITY="+s.display.AuthorityFile)
	}
	h.env = append(h.env, s.env...)
	return s, nil
}

// ownScreen starts an X server without a screen to look at.
func ownScreen(why error, back *undo.Stack) (*screen, error) {
	dir := filepath.Join(root, "x")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	back.Push("remove the X server's files", func() error { return os.RemoveAll(dir) })
	x, err := testenv.OpenXServer(dir, testenv.WithScreen(width, height))
	if err != nil {
		return nil, err
	}
	back.Push("end the X server", func() error { x.Stop(); return nil })
	uid := desktop.Person(os.Getenv)
	if err := os.Lchown(x.Authority, int(uid), -1); err != nil { // the person's cookie is read with the person's rights
		return nil, err
	}
	if err := paint(x); err != nil {
		return nil, err
	}
	return &screen{
		display: desktop.Display{Address: desktop.Address{Network: desktop.Unix, Path: x.Path}, Number: x.Number, AuthorityFile: x.Authority, UID: uid},
		words:   fmt.Sprintf("an Xvfb of the demo's own (%s)", ui.Escape(strings.Split(why.Error(), ";")[0])),
	}, nil
}

// forward makes a display that is reached over the machine's network, as abstract
// sockets are, one with a socket in the file system of the simulated workstation.
func (h *hutch) forward(d desktop.Display, back *undo.Stack) error {
	dir := filepath.Join(root, "x11")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	back.Push("remove the display's forwarding", func() error { return os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "X"+strconv.Itoa(d.Number)))
	if err != nil {
		return err
	}
	back.Push("end the display's forwarding", l.Close)
	// Only the workstation's mount namespace shows it; the cookie is asked for.
	if err := errors.Join(os.Chmod(l.Addr().String(), 0o666), os.MkdirAll(desktop.SocketDir, 0o1777), h.world.Show(dir, desktop.SocketDir)); err != nil {
		return err
	}
	network, address := d.Address.Network, d.Address.Path
	if network == desktop.Abstract {
		network, address = "unix", "@"+address
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial(network, address)
			if err != nil {
				near.Close()
				continue
			}
			testenv.Join(near, far)
		}
	}()
	return nil
}

// shows says whether windows of all these classes are on the screen.
func (s *screen) shows(ctx context.Context, classes ...string) bool {
	c := exec.CommandContext(ctx, "xwininfo", "-root", "-tree")
	c.Env = append([]string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, s.env...)
	tree, err := c.Output()
	for _, class := range classes {
		if !strings.Contains(string(tree), strconv.Quote(class)+")") {
			return false
		}
	}
	return err == nil
}

// wait lets a person who is there look at the windows.
func (s *screen) wait(ctx context.Context) {
	if _, terminal := ui.TerminalWidth(os.Stdin); !s.persons || !terminal {
		return
	}
	fmt.Print("The windows stay until you press Enter. ")
	pressed := make(chan struct{})
	go func() {
		defer close(pressed)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	}()
	select {
	case <-pressed:
	case <-ctx.Done():
	}
}

// toPerson gives a file to the person, for whom root made it.
func toPerson(path string) error {
	uid := desktop.Person(os.Getenv)
	gid := -1
	if n, err := strconv.Atoi(os.Getenv("SUDO_GID")); err == nil {
		gid = n
	}
	if err := unix.Lchown(path, int(uid), gid); err != nil {
		return fmt.Errorf("chown %s: %w", path, err)
	}
	return nil
}
