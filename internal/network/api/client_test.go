package api

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/hutch-project/hutch/internal/sys"
)

// A hutchd that ends while it is asked is as one that is not there.
func TestAskOneThatEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := sys.ListenUnix("unixpacket", socket, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := l.AcceptUnix(); err == nil {
			c.Close()
		}
		l.Close()
	}()
	c, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("asked one that ended: %v, want ErrNotRunning", err)
	}
}
