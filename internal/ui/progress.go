package ui

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Progress shows how far something long has come: on a terminal one line that
// changes, in a pipe one line for each phase that ended. Its methods may be
// called from any goroutine; a nil Progress shows nothing.
type Progress struct {
	w     io.Writer
	width int // columns; 0 means no terminal
	now   func() time.Time

	mu         sync.Mutex
	phase      string
	since      time.Time
	drawn      time.Time
	done, size int64
	unit       func(uint64) string
	visible    bool // a line stands on the terminal
}

// redraw bounds how often the line changes; more is only heat.
const redraw = 100 * time.Millisecond

// NewProgress shows progress on f, which is usually the standard error.
func NewProgress(f *os.File) *Progress {
	width, _ := TerminalWidth(f)
	return newProgress(f, width, time.Now)
}

func newProgress(w io.Writer, width int, now func() time.Time) *Progress {
	return &Progress{w: w, width: width, now: now}
}

// Phase ends the phase before and begins another, such as "download packages".
func (p *Progress) Phase(name string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endPhase()
	p.phase, p.since, p.done, p.size, p.unit = Escape(name), p.now(), 0, 0, nil
	p.draw(true)
}

// Bytes says that done of size bytes are there; size 0 means that nobody knows.
func (p *Progress) Bytes(done, size int64) { p.step(done, size, Bytes) }

// Items says that done of size things are done; size 0 means that nobody knows.
func (p *Progress) Items(done, size int64) {
	p.step(done, size, func(n uint64) string { return fmt.Sprint(n) })
}

func (p *Progress) step(done, size int64, unit func(uint64) string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.size, p.unit = max(done, 0), max(size, 0), unit
	p.draw(false)
}

// Close ends the last phase and leaves the terminal as it was. ok false says
// that the phase did not end well: its error is the caller's to show.
func (p *Progress) Close(ok bool) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !ok && p.phase != "" && p.width == 0 {
		fmt.Fprintf(p.w, "%s: failed after %s\n", p.phase, Duration(p.now().Sub(p.since)))
		p.phase = ""
	}
	p.endPhase()
}

func (p *Progress) endPhase() {
	if p.visible {
		io.WriteString(p.w, "\r\x1b[K")
		p.visible = false
	}
	if p.phase != "" && p.width == 0 {
		fmt.Fprintf(p.w, "%s: %s\n", p.phase, Duration(p.now().Sub(p.since)))
	}
	p.phase = ""
}

func (p *Progress) draw(must bool) {
	now := p.now()
	if p.width == 0 || p.phase == "" || !must && now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn, p.visible = now, true
	io.WriteString(p.w, "\r"+Shorten(p.line(now), p.width-1)+"\x1b[K")
}

func (p *Progress) line(now time.Time) string {
	const bar = 24
	line := p.phase
	switch {
	case p.unit == nil:
	case p.size == 0:
		line += "  " + p.unit(uint64(p.done))
	default:
		full := int(min(p.done, p.size) * bar / max(p.size, 1))
		if p.size > 1<<50 { // the product above would overflow
			full = int(float64(min(p.done, p.size)) / float64(p.size) * bar)
		}
		line += "  [" + strings.Repeat("#", full) + strings.Repeat("-", bar-full) + "]  " +
			p.unit(uint64(p.done)) + " of " + p.unit(uint64(p.size))
	}
	return line + "  " + Duration(now.Sub(p.since).Truncate(time.Second))
}
