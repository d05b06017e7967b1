package testenv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Hutch is a hutch of the test's own: the real programs, below a root of their
// own, started in the host namespace of a simulated workstation.
type Hutch struct {
	*Workstation
	Root string   // HUTCH_ROOT
	Bin  string   // folder of the programs
	Env  []string // of every command, beside HUTCH_ROOT; nothing else is passed on

	t testing.TB
}

// BinVariable names the environment variable that says where the built programs
// lie; without it that is bin/ of the module.
const BinVariable = "HUTCH_BIN"

// NewHutch makes a hutch that ends, with all it made, with the test. Its image
// store is shared by all tests, so that debian/bookworm is made once per machine;
// a test that removes images wants OwnImages.
func NewHutch(t testing.TB) *Hutch {
	t.Helper()
	RequireRoot(t)
	RequireTools(t, "mmdebstrap")
	bin := os.Getenv(BinVariable)
	if bin == "" {
		bin = filepath.Join(moduleDir(t), "bin")
	}
	for _, program := range []string{"hutch", "hutchd", "hutch-supervisor", "hutch-agent"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			t.Fatalf("%v; run 'make build' first", err)
		}
	}
	// Not t.TempDir: containers, which have no right on the host, must reach it.
	root, err := os.MkdirTemp("", "hutch-")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(root, 0o755), os.MkdirAll(filepath.Join(root, "var/lib/hutch"), 0o755)); err != nil {
		t.Fatal(err)
	}
	world := NewWorkstation(t)
	if err := world.Mirrors(); err != nil {
		t.Fatal(err)
	}
	h := &Hutch{Workstation: world, Root: root, Bin: bin, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, t: t}
	shareImages(t, root)
	t.Cleanup(h.end)
	return h
}

// shareImages links the machine's test image store into a root.
func shareImages(t testing.TB, root string) {
	cache := os.Getenv(CacheVariable)
	if cache == "" {
		cache = "/var/cache/hutch-test"
	}
	store := filepath.Join(cache, "store")
	err := errors.Join(
		os.MkdirAll(store, 0o700),
		os.Symlink(store, filepath.Join(root, "var/lib/hutch/images")))
	if err != nil {
		t.Fatal(err)
	}
}

// OwnImages gives the hutch an empty image store of its own.
func (h *Hutch) OwnImages() {
	h.t.Helper()
	if err := os.Remove(filepath.Join(h.Root, "var/lib/hutch/images")); err != nil {
		h.t.Fatal(err)
	}
}

// moduleDir is the folder of go.mod, above the test's own.
func moduleDir(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod above the test")
	return ""
}

// Command prepares one of hutch's programs, or any other, in the environment of
// this hutch. Start it with Workstation.Start and the namespace Host.
func (h *Hutch) Command(name string, args ...string) *exec.Cmd {
	path := name
	if _, err := os.Stat(filepath.Join(h.Bin, name)); err == nil {
		path = filepath.Join(h.Bin, name)
	}
	c := exec.Command(path, args...)
	c.Env = append([]string{"HUTCH_ROOT=" + h.Root}, h.Env...)
	return c
}

// A Result of a command.
type Result struct {
	Status int
	Stdout string
	Stderr string
}

// Hutch runs hutch with arguments and no input.
func (h *Hutch) Hutch(args ...string) Result {
	h.t.Helper()
	return h.Input("", args...)
}

// Input runs hutch with arguments and an input.
func (h *Hutch) Input(stdin string, args ...string) Result {
	h.t.Helper()
	c := h.Command("hutch", args...)
	var stdout, stderr bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := h.Start(h.Host, c); err != nil {
		h.t.Fatalf("hutch %s: %v", strings.Join(args, " "), err)
	}
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("hutch %s: %v", strings.Join(args, " "), err)
	}
	return Result{c.ProcessState.ExitCode(), stdout.String(), stderr.String()} // -1 for a signal
}

// Must runs hutch and ends the test where it fails; it returns the output.
func (h *Hutch) Must(args ...string) string {
	h.t.Helper()
	r := h.Hutch(args...)
	if r.Status != 0 {
		h.t.Fatalf("hutch %s: status %d\n%s%s", strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Exec runs a shell line in a container as its root and returns what it printed
// and its status.
func (h *Hutch) Exec(name, line string) Result {
	h.t.Helper()
	return h.Hutch("exec", name, "--user", "0", "--", "sh", "-c", line)
}

// end takes everything away, and says where something stayed.
func (h *Hutch) end() {
	if h.t.Failed() {
		h.logs()
	}
	if r := h.Hutch("cleanup", "--all", "--yes"); r.Status != 0 {
		h.t.Errorf("hutch cleanup --all: status %d\n%s%s", r.Status, r.Stdout, r.Stderr)
	}
	if err := os.RemoveAll(h.Root); err != nil && !errors.Is(err, unix.EBUSY) {
		h.t.Errorf("remove %s: %v", h.Root, err)
	}
}

// logs shows what hutch's programs said, for a test that failed.
func (h *Hutch) logs() {
	for _, pattern := range []string{"var/lib/hutch/containers/*/supervisor.log", "run/hutch/hutchd.log"} {
		files, _ := filepath.Glob(filepath.Join(h.Root, pattern))
		for _, f := range files {
			if data, err := os.ReadFile(f); err == nil {
				h.t.Logf("%s:\n%s", f, data)
			}
		}
	}
}
