package sys_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
)

func TestReadFileAs(t *testing.T) {
	testenv.RequireRoot(t)
	const person = 4321
	dir, err := os.MkdirTemp("", "hutch-user-") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, uid, gid int, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte("12345678"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(at(name), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	write("own", person, person, 0o600)
	write("root", 0, 0, 0o600)
	write("rootgroup", 0, 0, 0o640)
	if err := os.Symlink("own", at("link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(at("fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"own": "", "root": "permission denied", "rootgroup": "permission denied",
		"link": "too many levels", "fifo": "not a regular file", ".": "not a regular file",
	} {
		data, err := sys.ReadFileAs(person, at(name), 8)
		switch {
		case want == "" && (err != nil || string(data) != "12345678"):
			t.Errorf("%s: %q, %v", name, data, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: error %v, want %q", name, err, want)
		}
	}
	if _, err := sys.ReadFileAs(person, at("own"), 7); err == nil {
		t.Error("a file above the limit was read")
	}
	// No thread that others run on keeps the rights of the person.
	for range 100 {
		if err := sys.AsUser(0, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(at("root")); err != nil {
			t.Fatal(err)
		}
	}
	var st syscall.Stat_t
	if err := sys.AsUser(person, func() error { return syscall.Stat(at("own"), &st) }); err != nil || st.Uid != person {
		t.Errorf("stat: owner %d, %v", st.Uid, err)
	}
}
