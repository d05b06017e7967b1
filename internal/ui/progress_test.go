package ui

import (
	"strings"
	"testing"
	"time"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func TestProgressInPipe(t *testing.T) {
	var b strings.Builder
	c := &clock{time.Unix(1000, 0)}
	p := newProgress(&b, 0, c.now)
	p.Phase("download\x1b packages")
	p.Bytes(10, 100)
	c.t = c.t.Add(1300 * time.Millisecond)
	p.Phase("unpack")
	c.t = c.t.Add(2 * time.Second)
	p.Close(false)
	p.Close(true) // a second one says nothing
	if want := "download\\x1b packages: 1.3 s\nunpack: failed after 2.0 s\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestProgressOnTerminal(t *testing.T) {
	var b strings.Builder
	c := &clock{time.Unix(1000, 0)}
	p := newProgress(&b, 80, c.now)
	p.Phase("unpack")
	p.Items(1, 4) // too soon to draw
	c.t = c.t.Add(time.Second)
	p.Items(2, 4)
	c.t = c.t.Add(time.Second)
	p.Items(9, 4) // more than there was said to be
	p.Close(true)
	want := "\runpack  0 µs\x1b[K" +
		"\runpack  [############------------]  2 of 4  1.0 s\x1b[K" +
		"\runpack  [########################]  9 of 4  2.0 s\x1b[K" +
		"\r\x1b[K"
	if b.String() != want {
		t.Errorf("%q\nwant %q", b.String(), want)
	}
}

func TestProgressFitsTheTerminal(t *testing.T) {
	var b strings.Builder
	c := &clock{time.Unix(1000, 0)}
	p := newProgress(&b, 20, c.now)
	p.Phase("a phase with a name longer than the line")
	line := strings.TrimSuffix(strings.TrimPrefix(b.String(), "\r"), "\x1b[K")
	if Width(line) != 19 { // the last column stays free: some terminals wrap there
		t.Errorf("%q has %d columns", line, Width(line))
	}
}

func TestProgressNil(t *testing.T) {
	var p *Progress
	p.Phase("a")
	p.Bytes(1, 2)
	p.Items(1, 2)
	p.Close(true)
}
