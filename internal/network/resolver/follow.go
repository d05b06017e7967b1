package resolver

import (
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A Follower keeps the choice up to date. It looks when it is asked, at most
// once a second, and reads only what has changed.
type Follower struct {
	own   []netip.Addr
	trace func(string)
	now   func() time.Time

	mu     sync.Mutex
	looked time.Time
	files  [2]file // /etc/resolv.conf, systemd's
	choice Choice
}

type file struct {
	path  string
	mark  mark
	bytes []byte
}

// A mark changes when a file is written or replaced.
type mark struct {
	inode uint64
	size  int64
	mtime time.Time
}

// Follow reads the files below root, which is "/" but in tests. trace gets the
// Why of each new choice and may be nil.
func Follow(root string, own []netip.Addr, trace func(string)) *Follower {
	if trace == nil {
		trace = func(string) {}
	}
	f := &Follower{own: own, trace: trace, now: time.Now}
	f.files[0].path = filepath.Join(root, "etc/resolv.conf")
	f.files[1].path = filepath.Join(root, "run/systemd/resolve/resolv.conf")
	return f
}

// Servers returns the servers to ask now. The slice is not to be changed.
func (f *Follower) Servers() []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if age := now.Sub(f.looked); !f.looked.IsZero() && age >= 0 && age < time.Second {
		return f.choice.Servers
	}
	changed := f.looked.IsZero()
	f.looked = now
	for i := range f.files {
		changed = f.files[i].look() || changed
	}
	if !changed {
		return f.choice.Servers
	}
	choice := Decide(Facts{ResolvConf: f.files[0].bytes, Systemd: f.files[1].bytes, Own: f.own})
	if choice.Why != f.choice.Why {
		f.trace(choice.Why)
	}
	f.choice = choice
	return f.choice.Servers
}

// look reads the file where it has changed and says whether it has. One that
// cannot be read counts as not there.
func (f *file) look() bool {
	info, err := os.Stat(f.path)
	if err != nil || !info.Mode().IsRegular() {
		changed := f.mark != mark{}
		f.mark, f.bytes = mark{}, nil
		return changed
	}
	m := markOf(info)
	if m == f.mark {
		return false
	}
	f.mark, f.bytes = m, nil
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) { // replaced just now: the next look finds it
		f.mark = mark{}
		return true
	}
	if err != nil {
		return true
	}
	defer file.Close()
	if b, err := io.ReadAll(io.LimitReader(file, maxFile)); err == nil {
		f.bytes = b
	}
	return true
}

func markOf(info fs.FileInfo) mark {
	m := mark{size: info.Size(), mtime: info.ModTime()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		m.inode = st.Ino
	}
	return m
}
