package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostState is all of the host that hutch changes for its network, and its own
// traces: what must be as before after cleanup --all.
func (w *world) hostState() census {
	c := w.census()
	for _, line := range lines(w.host("sh", "-c", "grep -rs . /proc/sys/net || true")) {
		if !restless.MatchString(line) {
			c["setting "+line]++
		}
	}
	for _, file := range []string{w.layout.SubUID, w.layout.SubGID} {
		if data, err := os.ReadFile(file); err == nil {
			c[fmt.Sprintf("%s: %q", file, data)]++
		}
	}
	return c
}

// restless are settings that change by themselves.
var restless = regexp.MustCompile(`nf_conntrack_count|random|/flush:|dirty|file-nr|/neigh/|sockets_allocated`)

const lostSettings = "no runtime folder"

func TestCleanupAll(t *testing.T) {
	w := newWorld(t)
	before := w.hostState()
	killAll := func(program string) {
		pids := w.programs(program)
		if len(pids) == 0 {
			t.Fatalf("there is no %s to kill", program)
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name string
		harm func()
	}{
		{"containers that run", func() {}},
		{"hutchd killed", func() { killAll(theNetwork) }},
		{"supervisors killed", func() { killAll(theSupervisor) }},
		{"all killed", func() { killAll(theNetwork); killAll(theSupervisor) }},
		{"no state folder", func() {
			for _, dir := range []string{w.layout.State, w.layout.Netd} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"a half written record of hutchd's", func() {
			if err := os.WriteFile(filepath.Join(w.layout.Runtime, "hutchd-ports.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"nothing at all", func() { w.must("cleanup", "--all", "--yes") }},
		{lostSettings, func() {
			killAll(theNetwork)
			w.host("umount", "-l", w.layout.RouterNamespace())
			if err := os.RemoveAll(w.layout.Runtime); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.t = t
			w.images()
			w.must("create", "one", "debian/bookworm", "--init", "app", "--display", "none")
			w.must("create", "two", "debian/bookworm", "--display", "none")
			w.must("start", "one", "two")
			if w.census()["link on the host: hutch0@up:"] == 0 && len(w.hostState().more(before)) < 10 {
				t.Fatalf("hutch made nothing on the host: %v", w.hostState().more(before))
			}
			test.harm()
			w.must("cleanup", "--all", "--yes")
			changed := differ(w.hostState(), before)
			if test.name == lostSettings { // what the host's settings were, nobody knows any more
				changed = slices.DeleteFunc(changed, func(line string) bool { return strings.Contains(line, "setting /proc/sys/net/ipv") })
			}
			if len(changed) > 0 {
				t.Errorf("not as before hutch:\n%s", strings.Join(changed, "\n"))
			}
		})
	}
	w.t = t
}

// The programs of hutch's that wait on containers never go inside themselves: what
// /proc shows of them would else be the container's.
func TestSupervisorStaysOutside(t *testing.T) {
	w := newWorld(t)
	w.must("create", victim, "debian/bookworm", "--init", "app", "--display", "none")
	for range 5 {
		w.must("start", victim)
		inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", w.init(victim)))
		if err != nil {
			t.Fatal(err)
		}
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/ns/mnt", w.supervisor(victim)))
		if err != nil || len(threads) == 0 {
			t.Fatalf("threads: %v, %v", threads, err)
		}
		for _, thread := range threads {
			if at, _ := os.Readlink(thread); at == inside {
				t.Errorf("%s of the supervisor is in the container's mount namespace", thread)
			}
		}
		w.must("stop", victim)
	}
}

// systemd ends in order whenever it is asked, with the agent beside it, which is not
// its child.
func TestStopOfOneThatHasJustBegun(t *testing.T) {
	w := newWorld(t)
	w.must("create", victim, "debian/bookworm", "--display", "none")
	for range 4 {
		w.must("start", victim)
		w.must("exec", victim, "--", "true")
		w.must("stop", victim)
		log, err := os.ReadFile(filepath.Join(w.layout.Container(victim), "supervisor.log"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(log), "did not end in time") {
			t.Errorf("it was killed, not ended:\n%s", log)
		}
	}
}

// differ is what changed but for folders of hutch's that were there before.
func differ(now, before census) []string {
	return slices.DeleteFunc(now.changed(before), func(line string) bool { return strings.HasPrefix(line, "-1 file ") })
}

// images links the shared image store where cleanup --all has removed the link.
func (w *world) images() {
	w.t.Helper()
	cache := os.Getenv("HUTCH_TEST_CACHE")
	if cache == "" {
		cache = "/var/cache/hutch-test"
	}
	if err := os.MkdirAll(w.layout.State, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(cache, "store"), w.layout.Images()); err != nil && !os.IsExist(err) {
		w.t.Fatal(err)
	}
}

// Cleanup where there never was a hutch does nothing, and leaves nothing.
func TestCleanupOfNothing(t *testing.T) {
	w := newWorld(t)
	if err := os.RemoveAll(filepath.Join(w.Root, "var")); err != nil {
		t.Fatal(err)
	}
	before := w.hostState()
	if out := w.must("cleanup"); out != "" {
		t.Errorf("cleanup of nothing did something: %s", out)
	}
	w.must("cleanup", "--all", "--yes")
	if changed := differ(w.hostState(), before); len(changed) > 0 {
		t.Errorf("not as before:\n%s", strings.Join(changed, "\n"))
	}
}

// A supervisor that is stopped answers nobody: what needs it says so in time, and
// what does not goes on.
func TestStoppedSupervisor(t *testing.T) {
	w := newWorld(t)
	w.must("create", victim, "debian/bookworm", "--init", "app", "--display", "none")
	w.must("start", victim)
	if out := w.must("exec", victim, "--", "echo", "ready"); out != "ready\n" { // the agent is there
		t.Fatalf("got %q", out)
	}
	before := w.census()
	pid := w.supervisor(victim)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !strings.Contains(w.stat(pid), ") T "); {
		if time.Now().After(end) {
			t.Fatal("the supervisor does not stop")
		}
	}
	if out := w.must("exec", victim, "--", "echo", "hello"); out != "hello\n" {
		t.Errorf("exec without the supervisor: %q", out)
	}
	for _, args := range [][]string{
		{"stop", victim}, {"mount", victim, "/usr/share:/srv/share:ro"}, {"config", "set", victim, "pids", "77"},
	} {
		out, err := w.run(args...)
		if err == nil {
			t.Errorf("%q with a supervisor that is stopped: done: %s", args, out)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("kill -CONT %d", pid)) {
			t.Errorf("%q: %v; want the way out", args, err)
		}
	}
	w.must("ls")
	w.must("info", victim)
	w.must("rm", "--force", victim)
	w.must("cleanup")
	if more := w.census().more(before); len(more) > 0 {
		t.Errorf("more than before:\n%s", strings.Join(more, "\n"))
	}
}

// stat is a process's line of /proc, nothing where it is gone.
func (w *world) stat(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return string(data)
}
