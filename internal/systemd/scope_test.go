package systemd

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/hutch-project/hutch/internal/testenv"
)

// A manager stands for systemd, on a real bus: it takes the call as the manual
// has it, and says a few times that the unit is there yet.
type manager struct {
	mu     sync.Mutex
	exists int
	unit   string
	mode   string
	given  map[string]any
}

func (m *manager) StartTransientUnit(unit, mode string, properties []property, _ []auxiliary) (dbus.ObjectPath, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.exists > 0 {
		m.exists--
		return "", dbus.NewError("org.freedesktop.systemd1.UnitExists", []any{"Unit " + unit + " was already loaded."})
	}
	m.unit, m.mode, m.given = unit, mode, map[string]any{}
	for _, p := range properties {
		m.given[p.Name] = p.Value.Value()
	}
	return "/org/freedesktop/systemd1/job/1", nil
}

func bus(t *testing.T) (address string) {
	testenv.RequireTools(t, "dbus-daemon")
	dir := t.TempDir()
	address = "unix:path=" + filepath.Join(dir, "bus")
	c := exec.Command("dbus-daemon", "--session", "--nofork", "--address="+address, "--print-address=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	if _, err := out.Read(make([]byte, 512)); err != nil { // it listens
		t.Fatal(err)
	}
	return address
}

func dial(t *testing.T, address string) *dbus.Conn {
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestOwnScope(t *testing.T) {
	address := bus(t)
	server := dial(t, address)
	m := &manager{exists: 2}
	if err := server.Export(m, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"); err != nil {
		t.Fatal(err)
	}
	if r, err := server.RequestName("org.freedesktop.systemd1", 0); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(r, err)
	}
	if err := ownScope(t.Context(), dial(t, address), "hutchd", "words"); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	pids, _ := m.given["PIDs"].([]uint32)
	if m.unit != "hutchd.scope" || m.mode != "fail" || len(pids) != 1 || int(pids[0]) != os.Getpid() ||
		m.given["Slice"] != "system.slice" || m.given["Description"] != "words" {
		t.Errorf("systemd was asked for %s, %s, %v", m.unit, m.mode, m.given)
	}
}

func TestOwnScopeSaysWhatFailed(t *testing.T) {
	address := bus(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := ownScope(ctx, dial(t, address), "hutchd", "words") // nobody is systemd on this bus
	if err == nil || !strings.Contains(err.Error(), "hutchd.scope") {
		t.Errorf("got %v", err)
	}
}
