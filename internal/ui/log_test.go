package ui

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLoggerForPeople(t *testing.T) {
	var b strings.Builder
	log, closer, err := NewLogger(LogOptions{Stderr: &b})
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	log.Debug("a step")
	log.Info("a fact")
	log.Warn("low on disk", "path", "/var", "who", "a\nb")
	log.Error("broken")
	if want := "hutch: warning: low on disk path=/var who=a\\nb\nhutch: broken\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestLoggerDebugAndFile(t *testing.T) {
	var b strings.Builder
	file := filepath.Join(t.TempDir(), "log")
	log, closer, err := NewLogger(LogOptions{Stderr: &b, Debug: true, File: file, Level: slog.LevelInfo, Start: time.Now().Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	log.Log(t.Context(), LevelTrace, "wire")
	log.With("container", "ff").WithGroup("dns").Info("asked\x1b", "name", "a b", slog.Group("upstream", "took", 1500*time.Millisecond))
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if !regexp.MustCompile(`^\+36\d\d\.\d{3}s trace wire$`).MatchString(strings.TrimSpace(lines[0])) {
		t.Errorf("--debug: %q", lines[0])
	}
	want := `asked\x1b container=ff dns.name="a b" dns.upstream.took="1.5 s"`
	if !strings.HasSuffix(lines[1], " info  "+want) {
		t.Errorf("--debug: %q, want …%q", lines[1], want)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(written); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, want+"\n") {
		t.Errorf("--log-file: %q", got)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("--log-file: mode %v", info.Mode())
	}
}

func TestLogFileIsNoLink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "victim"), link); err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewLogger(LogOptions{File: link}); err == nil || !strings.Contains(err.Error(), "--log-file") {
		t.Errorf("written through a link: %v", err)
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]slog.Level{"trace": LevelTrace, "DEBUG": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := ParseLevel(in); got != want || err != nil {
			t.Errorf("ParseLevel(%q) = %v, %v", in, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("ParseLevel(loud): no error")
	}
}
