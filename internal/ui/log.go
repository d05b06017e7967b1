package ui

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// LevelTrace is below debug: what goes over the wires.
const LevelTrace = slog.LevelDebug - 4

// ParseLevel reads --log-level: trace, debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "trace":
		return LevelTrace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q: use trace, debug, info, warn or error", Escape(s))
}

// LogOptions say where the log of hutch's steps goes.
type LogOptions struct {
	Stderr io.Writer // gets warnings and errors; nil for none
	Debug  bool      // Stderr gets every step, with the time since Start
	File   string    // gets what is at Level or above; empty for none
	Level  slog.Level
	Start  time.Time // of the command; zero means now
}

// NewLogger returns the log and what closes its file. Lines are escaped: what a
// container said can not forge one.
func NewLogger(o LogOptions) (*slog.Logger, io.Closer, error) {
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	var sinks []*sink
	if o.Stderr != nil {
		level := slog.LevelWarn
		if o.Debug {
			level = LevelTrace
		}
		sinks = append(sinks, &sink{w: o.Stderr, level: level, start: o.Start, plain: !o.Debug})
	}
	closer := io.Closer(noFile{})
	if o.File != "" {
		// Not through a link: root writes here, and the folder may be anybody's.
		f, err := os.OpenFile(o.File, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("log file: %w; name another with --log-file", err)
		}
		sinks = append(sinks, &sink{w: f, level: o.Level, start: o.Start, dated: true})
		closer = f
	}
	return slog.New(&handler{sinks: sinks}), closer, nil
}

type noFile struct{}

func (noFile) Close() error { return nil }

// A sink is one place that lines go to.
type sink struct {
	mu    sync.Mutex
	w     io.Writer
	level slog.Level
	start time.Time
	plain bool // for people: the message without time and level
	dated bool
}

// A handler writes each record as one line to its sinks.
type handler struct {
	sinks  []*sink
	attrs  string // formatted
	prefix string // of groups: "dns."
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	for _, s := range h.sinks {
		if level >= s.level {
			return true
		}
	}
	return false
}

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	attrs := h.attrs
	r.Attrs(func(a slog.Attr) bool {
		attrs += formatAttr(h.prefix, a)
		return true
	})
	var first error
	for _, s := range h.sinks {
		if r.Level < s.level {
			continue
		}
		if err := s.write(r, attrs); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += formatAttr(h.prefix, a)
	}
	return &with
}

func (h *handler) WithGroup(name string) slog.Handler {
	with := *h
	if name != "" {
		with.prefix += name + "."
	}
	return &with
}

func formatAttr(prefix string, a slog.Attr) string {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		all := ""
		for _, member := range value.Group() {
			all += formatAttr(prefix, member)
		}
		return all
	}
	if a.Key == "" {
		return ""
	}
	text := Escape(value.String())
	if value.Kind() == slog.KindDuration {
		text = Duration(value.Duration())
	}
	if text == "" || strings.ContainsAny(text, ` "=`) {
		text = `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`
	}
	return " " + Escape(prefix+a.Key) + "=" + text
}

func (s *sink) write(r slog.Record, attrs string) error {
	message := Escape(r.Message) + attrs
	var line string
	switch {
	case s.plain && r.Level >= slog.LevelError:
		line = "hutch: " + message
	case s.plain:
		line = "hutch: warning: " + message
	default:
		since := max(0, r.Time.Sub(s.start))
		line = fmt.Sprintf("%+9.3fs %-5s %s", since.Seconds(), levelName(r.Level), message)
		if s.dated {
			line = r.Time.Format("2006-01-02T15:04:05.000Z07:00") + " " + line
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := io.WriteString(s.w, line+"\n")
	return err
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}
