package script

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hutch-project/hutch/internal/testenv"
)

const (
	personName = "ada"
	personUID  = 1234
)

// TestShared runs the stories that do not disturb each other.
func TestShared(t *testing.T) {
	h := newHutch(t)
	stories(t, h, "shared")
}

// TestOwn runs the stories that want the machine for themselves.
func TestOwn(t *testing.T) {
	files, err := filepath.Glob("own/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in own/: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHutch(t)
			if err := h.CopyImages(); err != nil {
				t.Fatal(err)
			}
			stories(t, h, file)
		})
	}
}

func newHutch(t *testing.T) *testenv.Hutch {
	testenv.RequireTools(t, "nsenter")
	h := testenv.NewHutch(t)
	if _, err := h.AddPerson(personName, personUID); err != nil {
		t.Fatal(err)
	}
	return h
}

// stories runs a file, or all files of a folder.
func stories(t *testing.T, h *testenv.Hutch, path string) {
	t.Helper()
	bin := t.TempDir()
	if err := h.Wrappers(bin); err != nil {
		t.Fatal(err)
	}
	files := []string{path}
	if filepath.Ext(path) != ".txtar" {
		var err error
		if files, err = filepath.Glob(filepath.Join(path, "*.txtar")); err != nil || len(files) == 0 {
			t.Fatalf("no stories in %s: %v", path, err)
		}
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
			e.Setenv("ROOT", h.Root)
			e.Setenv("BIN", h.Bin)
			e.Setenv("STATE", filepath.Join(h.Root, "var/lib/hutch"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dialog":     dialog,
			"documented": documented,
			"eventually": eventually,
		},
		Condition: func(condition string) (bool, error) {
			controller, is := strings.CutPrefix(condition, "v1:") // this machine has it in a v1 hierarchy
			if !is {
				return false, fmt.Errorf("unknown condition %q", condition)
			}
			_, err := os.Stat(filepath.Join("/sys/fs/cgroup", controller, "cgroup.procs"))
			return err == nil, nil
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Deadline:            time.Now().Add(2 * time.Minute),
	})
}

// eventually waits for a command to succeed.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: eventually COMMAND...")
	}
	const patience = 30 * time.Second
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s: not within %v: %v", strings.Join(args, " "), patience, err)
		}
	}
}

// environment is that of a story's commands, for those that it does not start
// itself.
func environment(ts *testscript.TestScript, c *exec.Cmd) {
	for _, name := range []string{"PATH", "ROOT", "STATE", "BIN", "WORK", "SUDO_UID", "HOME"} {
		if value := ts.Getenv(name); value != "" {
			c.Env = append(c.Env, name+"="+value)
		}
	}
	c.Env = append(c.Env, "TERM=xterm")
	c.Dir = ts.MkAbs(".")
}
