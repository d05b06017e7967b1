package display_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hutch-project/hutch/internal/desktop/x11"
)

func owner(info os.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

// A tap stands before an X server and writes down what clients show.
type tap struct {
	path string
	mu   sync.Mutex
	seen [][]byte
}

func newTap(t *testing.T, server string) *tap {
	t.Helper()
	p := &tap{path: filepath.Join(t.TempDir(), "tap")}
	l, err := net.Listen("unix", p.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(near, server)
		}
	}()
	return p
}

func (p *tap) pass(near net.Conn, server string) {
	defer near.Close()
	setup, err := x11.ReadSetup(near)
	if err != nil {
		return
	}
	p.mu.Lock()
	p.seen = append(p.seen, bytes.Clone(setup.Auth.Data))
	p.mu.Unlock()
	far, err := net.Dial("unix", server)
	if err != nil {
		return
	}
	defer far.Close()
	far.Write(setup.Encode())
	go func() {
		io.Copy(near, far)
		near.Close()
	}()
	io.Copy(far, near)
}

func (p *tap) cookies(t *testing.T) [][]byte {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
