package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/paths"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	l, err := paths.SystemBelow(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return New(l)
}

// add makes a container with a file of its own.
func add(t *testing.T, s *Store, name string) container.Record {
	t.Helper()
	d, err := s.Draft()
	if err != nil {
		t.Fatal(err)
	}
	r := container.Record{Schema: container.Schema, Name: name, ID: strings.Repeat("0a", 16), Image: container.Image{Layers: []string{"sha256:0"}}}
	err = errors.Join(
		os.MkdirAll(filepath.Join(d.Dir, "upper/etc"), 0o755),
		os.WriteFile(filepath.Join(d.Dir, "upper/etc/hostname"), []byte(name), 0o644),
		d.Commit(r))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRemoveLeavesNothing(t *testing.T) {
	s := newStore(t)
	add(t, s, "one")
	add(t, s, "two")
	if err := s.Remove("one"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("one"); !errors.Is(err, ErrNotExist) {
		t.Errorf("a removed container is loaded: %v", err)
	}
	entries, err := os.ReadDir(s.layout.Containers())
	if err != nil || len(entries) != 1 || entries[0].Name() != "two" {
		t.Errorf("left: %v, %v; want two alone", entries, err)
	}
}

func TestLockOfARemovedFileIsTakenAnew(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	var holders atomic.Int32
	for range 8 {
		wg.Go(func() {
			for range 25 {
				l, err := s.Lock(t.Context(), "one")
				if err != nil {
					t.Error(err)
					return
				}
				if holders.Add(1) != 1 {
					t.Error("two have the lock of one name")
				}
				holders.Add(-1)
				if err := s.RemoveLock("one", l); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if names, err := s.LockNames(); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}

func TestTryLock(t *testing.T) {
	s := newStore(t)
	l, err := s.Lock(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryLock("one"); !errors.Is(err, ErrLocked) {
		t.Errorf("a lock that is held: %v", err)
	}
	l.Unlock()
	again, err := s.TryLock("one")
	if err != nil {
		t.Fatal(err)
	}
	again.Unlock()
}

// A command that was stopped in the middle keeps nobody waiting for ever.
func TestLockOfAStoppedProcess(t *testing.T) {
	s := newStore(t)
	l, err := s.Lock(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("sleep", "1000")
	c.ExtraFiles = []*os.File{l.File()}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	l.Unlock()
	if err := c.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = s.Lock(ctx, "one")
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("kill -CONT %d", c.Process.Pid)) {
		t.Errorf("got %v; want it to name process %d", err, c.Process.Pid)
	}
}
