package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// A Lock on a name. It is held until every descriptor of it is closed, in this
// process or in one that inherited File; a process that dies lets go of it.
type Lock struct{ f *os.File }

// ErrLocked says that another command is at work on the container.
var ErrLocked = errors.New("another hutch command is at work on it")

// Lock takes the lock of a name, waiting until ctx ends. The lock file stays until
// RemoveLock.
func (s *Store) Lock(ctx context.Context, name string) (*Lock, error) {
	if strings.TrimLeft(name, ".") == "" || strings.Contains(name, "/") {
		return nil, fmt.Errorf("lock %q: not a name", name)
	}
	if err := os.MkdirAll(s.layout.Locks(), 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(s.layout.Locks(), name)
	look := time.Now().Add(stuckTime)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		l, err := tryLock(path)
		if l != nil || err != nil {
			return l, err
		}
		if time.Now().After(look) {
			if p, stuck := stoppedHolder(path); stuck {
				return nil, fmt.Errorf("%s: %w, and process %d of it is stopped; 'kill -CONT %d' lets it go on, 'kill -9 %d' ends it", name, ErrLocked, p.PID, p.PID, p.PID)
			}
			look = time.Now().Add(stuckTime)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", name, ErrLocked)
		case <-time.After(wait):
		}
	}
}

// stuckTime is how long a lock is waited for before those who have it are looked at,
// and looked at again.
const stuckTime = time.Second

// stoppedHolder finds a process that has a lock file open and was stopped: it will
// not let go of it by itself.
func stoppedHolder(path string) (sys.Process, bool) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return sys.Process{}, false
	}
	for _, link := range links {
		if file, err := os.Readlink(link); err != nil || file != path {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil {
			continue
		}
		if p, err := sys.Identify(pid); err == nil && p.Stopped() {
			return p, true
		}
	}
	return sys.Process{}, false
}

// tryLock returns nil where somebody else has the lock, or where the file was
// removed between its opening and its locking: what is locked then is no name's.
func tryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK || err == unix.EINTR {
		f.Close()
		return nil, nil
	}
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if st.Nlink == 0 {
		f.Close()
		return nil, nil
	}
	return &Lock{f}, nil
}

// LockNames returns the names that have a lock file, of containers that are or that
// were.
func (s *Store) LockNames() ([]string, error) {
	return names(s.layout.Locks(), func(os.DirEntry) bool { return true })
}

// RemoveLock removes the file of a lock that the caller holds, and lets go of it.
// Whoever waits for it takes a new one.
func (s *Store) RemoveLock(name string, l *Lock) error {
	err := os.Remove(filepath.Join(s.layout.Locks(), name))
	l.Unlock()
	return err
}

// TryLock takes the lock of a name if nobody has it, or returns ErrLocked.
func (s *Store) TryLock(name string) (*Lock, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.Lock(ctx, name)
}

// File is the descriptor that a child process may inherit, to hold the lock too.
func (l *Lock) File() *os.File { return l.f }

// Unlock lets go of the lock, unless a child holds it too. A second call does
// nothing.
func (l *Lock) Unlock() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
