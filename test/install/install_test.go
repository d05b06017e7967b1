package install

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/testenv"
)

// makeTarget runs make with the programs that are there already.
func makeTarget(t *testing.T, target, dest string) {
	t.Helper()
	c := exec.Command("make", "-C", "../..", "-o", "build", target, "DESTDIR="+dest, "PREFIX=/usr")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", target, err, out)
	}
}

func files(t *testing.T, dir string) (found []string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// What is installed is found by hutch itself, and all of it goes again.
func TestInstallAndUninstall(t *testing.T) {
	testenv.RequireRoot(t) // hutch's commands are root's
	testenv.RequireTools(t, "make")
	dest := t.TempDir()
	makeTarget(t, "install", dest)
	installed := files(t, dest)
	for _, file := range []string{
		"/usr/bin/hutch", "/usr/libexec/hutch/hutchd", "/usr/libexec/hutch/hutch-supervisor", "/usr/libexec/hutch/hutch-agent",
		"/usr/share/man/man1/hutch.1", "/usr/share/man/man1/hutch-run.1", "/usr/share/man/man5/hutch.toml.5", "/usr/share/man/man8/hutchd.8",
		"/usr/share/bash-completion/completions/hutch", "/usr/share/zsh/site-functions/_hutch", "/usr/share/fish/vendor_completions.d/hutch.fish",
	} {
		if !slices.Contains(installed, file) {
			t.Errorf("%s is not installed", file)
		}
	}

	// Any command that opens the workspace looks for the other programs.
	root := t.TempDir()
	ls := func() ([]byte, error) {
		c := exec.Command(filepath.Join(dest, "usr/bin/hutch"), "ls")
		c.Env = []string{"HUTCH_ROOT=" + root}
		return c.CombinedOutput()
	}
	if out, err := ls(); err != nil {
		t.Errorf("the installed hutch: %v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(dest, "usr/libexec/hutch/hutch-supervisor")); err != nil {
		t.Fatal(err)
	}
	if out, err := ls(); err == nil {
		t.Errorf("hutch without its supervisor has nothing to say: %s", out)
	}

	makeTarget(t, "uninstall", dest)
	if left := files(t, dest); len(left) > 0 {
		t.Errorf("these stay: %q", left)
	}
}
