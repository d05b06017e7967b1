package ui

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// pty returns both ends of a new pseudoterminal (pts(4)).
func pty(t *testing.T) (outer, inner *os.File) {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs /dev/ptmx: %v", err)
	}
	t.Cleanup(func() { outer.Close() })
	if err := unix.IoctlSetPointerInt(int(outer.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.IoctlRetInt(int(outer.Fd()), unix.TIOCGPTPEER)
	if err != nil {
		// x/sys passes no flags: 0 opens read-only, enough to ask for the size.
		t.Skipf("needs TIOCGPTPEER: %v", err)
	}
	inner = os.NewFile(uintptr(fd), "pts")
	t.Cleanup(func() { inner.Close() })
	return outer, inner
}

func TestTerminalWidth(t *testing.T) {
	outer, inner := pty(t)
	if w, ok := TerminalWidth(inner); w != 80 || !ok {
		t.Errorf("a terminal that does not say: %d, %v", w, ok)
	}
	if err := unix.IoctlSetWinsize(int(outer.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 123}); err != nil {
		t.Fatal(err)
	}
	if w, ok := TerminalWidth(inner); w != 123 || !ok {
		t.Errorf("a terminal of 123 columns: %d, %v", w, ok)
	}
	file, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, ok := TerminalWidth(file); ok {
		t.Error("a file is taken for a terminal")
	}

	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if got := StyleFor(inner).Red("x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("on a terminal: %q", got)
	}
	if got := StyleFor(file).Red("x"); got != "x" {
		t.Errorf("in a file: %q", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := StyleFor(inner).Red("x"); got != "x" {
		t.Errorf("against the person's wish: %q", got)
	}
}

func TestColoured(t *testing.T) {
	for _, c := range []struct {
		terminal      bool
		noColor, term string
		want          bool
	}{
		{true, "", "xterm", true},
		{true, "1", "xterm", false},
		{true, "", "dumb", false},
		{true, "", "", false},
		{false, "", "xterm", false},
	} {
		if got := coloured(c.terminal, c.noColor, c.term); got != c.want {
			t.Errorf("coloured(%v, %q, %q) = %v", c.terminal, c.noColor, c.term, got)
		}
	}
}
