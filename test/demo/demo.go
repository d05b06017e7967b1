package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/undo"
)

// The container, and what it is made from.
const (
	name   = "demo"
	source = "debian/bookworm"
	more   = "x11-apps"
)

// settings of all containers of the demo: the Internet it simulates has these
// package servers only.
const settings = `[images.debian]
mirror = "http://deb.debian.org/debian"
`

// steps remembers how long each took.
type steps struct{ lines []string }

func (s *steps) do(what string, f func() error) error {
	if isTerminal(os.Stdout) {
		fmt.Printf("%s …\r", what)
	}
	began := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(began)
	unit := time.Millisecond
	if took > 10*time.Second {
		unit = 100 * time.Millisecond
	}
	s.lines = append(s.lines, fmt.Sprintf("  %-68s %7v", what, took.Round(unit)))
	return nil
}

func (h *hutch) demo(ctx context.Context, back *undo.Stack) error {
	var s steps
	var scr *screen
	var tried []row
	var shot string
	if err := os.WriteFile(filepath.Join(root, "etc/hutch/hutch.toml"), []byte(settings), 0o644); err != nil {
		return err
	}
	if err := s.do("a simulated workstation: host, LAN, Internet, VPN", func() error { return h.open(back) }); err != nil {
		return err
	}
	if err := s.do("an X server", func() (err error) {
		scr, err = h.screen(ctx, back)
		return err
	}); err != nil {
		return err
	}
	back.Push("end the container and hutchd", h.endPrograms)
	if err := h.make(ctx, &s); err != nil {
		return err
	}
	if err := s.do("hutch start "+name+", with hutchd and its router", func() error {
		_, err := h.run(ctx, "hutch", "start", name)
		return err
	}); err != nil {
		return err
	}
	if err := s.do("the table below, tried from inside", func() (err error) {
		tried, err = h.try(ctx)
		return err
	}); err != nil {
		return err
	}
	lease, err := h.run(ctx, "hutch", "info", name)
	if err != nil {
		return err
	}
	if err := s.do("hutch run "+name+" -- xeyes, xclock, xmore; their windows, a picture", func() (err error) {
		shot, err = h.show(ctx, scr, lease, tried, back)
		return err
	}); err != nil {
		return err
	}
	bad := report(s, scr, lease, tried, shot)
	scr.wait(ctx)
	if bad > 0 {
		return fmt.Errorf("%d of the things tried came out other than hutch promises", bad)
	}
	return nil
}

// make makes the container where there is none.
func (h *hutch) make(ctx context.Context, s *steps) error {
	listed, err := h.run(ctx, "hutch", "ls", "--format", "json")
	if err != nil {
		return err
	}
	if strings.Contains(listed, `"name": "`+name+`"`) {
		return nil
	}
	what := "hutch create " + name + " " + source + " --install " + more
	if images, err := h.run(ctx, "hutch", "image", "ls", "--format", "json"); err == nil && !strings.Contains(images, source) {
		what += ", its image first"
		fmt.Println("Making an image of Debian's packages. That takes a minute or so, once.")
	}
	return s.do(what, func() error {
		_, err := h.run(ctx, "hutch", "create", name, source, "--install", more)
		return err
	})
}

// report prints what happened and counts what should not have.
func report(s steps, scr *screen, lease string, tried []row, shot string) (bad int) {
	fmt.Println(strings.Join(s.lines, "\n"))
	fmt.Printf("\n$ hutch info %s\n%s\n\nTried from inside:\n", name, strings.TrimRight(lease, "\n"))
	for _, r := range tried {
		mark := "ok"
		if !r.ok {
			mark = "NOT"
			bad++
		}
		fmt.Printf("  %-3s  %s\n", mark, r)
	}
	fmt.Printf("\nThe world was a simulated workstation; of it only the package servers are real. The screen was %s.\n", scr.words)
	fmt.Printf("The picture: %s. Again, in seconds: make demo. All gone: make demo-clean.\n", shot)
	return bad
}

func isTerminal(f *os.File) bool {
	_, terminal := ui.TerminalWidth(f)
	return terminal
}
