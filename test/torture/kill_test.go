package torture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/container/store"
)

// TortureVariable names the environment variable that asks for the whole sweep.
const TortureVariable = "HUTCH_TORTURE"

// seed makes the same sweep every time; another one is another sweep.
const seed = 20240917

// victim is the container that things are done to; witness is one that goes on
// all the while.
const victim, witness = "victim", "witness"

// An operation is one command on the victim, in the middle of which something is
// killed.
type operation struct {
	name    string
	before  [][]string // commands that bring the victim into its state
	args    []string
	running bool     // the victim runs before and nobody asks it to stop
	targets []string // what is killed
}

const (
	theCommand    = "hutch"            // the command itself
	theSupervisor = "hutch-supervisor" // the victim's
	theNetwork    = "hutchd"
	everything    = "all of hutch's programs"
	theWitness    = "the witness's supervisor"
)

var create = []string{"create", victim, "debian/bookworm", "--init", "app", "--display", "none"}
var createSystem = []string{"create", victim, "debian/bookworm", "--display", "none"}
var start = []string{"start", victim}

// operations, with all that the sweep kills during each. Those at the front are in
// the short sweep too.
func operations(lent string) []operation {
	running := [][]string{create, start}
	return []operation{
		{"start", [][]string{create}, start, false, []string{theSupervisor, theCommand, theNetwork, everything}},
		{"stop", running, []string{"stop", victim}, false, []string{theSupervisor, theCommand, theNetwork, everything}},
		{"rm of a running one", running, []string{"rm", "--force", victim}, false, []string{theSupervisor, theCommand, everything}},
		{"exec", running, []string{"exec", victim, "--", "sleep", "0.3"}, true, []string{theSupervisor, theWitness, theNetwork, everything}},
		{"create", nil, create, false, []string{theCommand}},
		{"mount", running, []string{"mount", victim, lent + ":/srv/lent:ro"}, true, []string{theSupervisor, theCommand}},
		{"unmount", slices.Concat(running, [][]string{{"mount", victim, lent + ":/srv/lent:ro"}}), []string{"unmount", victim, "/srv/lent"}, true, []string{theCommand, theSupervisor}},
		{"config set", running, []string{"config", "set", victim, "pids", "512"}, true, []string{theCommand, theSupervisor}},
		{"start of systemd", [][]string{createSystem}, start, false, []string{theSupervisor, theCommand, everything}},
		{"stop of systemd", [][]string{createSystem, start}, []string{"stop", victim}, false, []string{theSupervisor, theCommand, everything}},
		{"run", nil, []string{"run", victim, "--image", "debian/bookworm", "--init", "app", "--display", "none", "--", "true"}, false, []string{theCommand, theSupervisor, theNetwork, everything}},
		{"rm", [][]string{create}, []string{"rm", victim}, false, []string{theCommand}},
		{"cleanup", running, []string{"cleanup"}, true, []string{theCommand, theSupervisor, theNetwork}},
		{"restart", running, []string{"restart", victim}, false, []string{theCommand, theSupervisor}},
	}
}

// A point of the sweep: what is killed when.
type point struct {
	operation
	target string
	at     float64 // as a part of the time that the operation takes
}

// points are n points of the sweep, the same for the same seed.
func points(ops []operation, n int) []point {
	random := rand.New(rand.NewPCG(seed, 0))
	var all []point
	for round := 0; len(all) < n; round++ {
		before := len(all)
		for _, op := range ops {
			if round < len(op.targets) || n > len(ops)*4 {
				all = append(all, point{op, op.targets[round%len(op.targets)], random.Float64() * 1.05})
			}
		}
		if len(all) == before {
			break
		}
	}
	return all[:min(n, len(all))]
}

// TestKilled kills hutch's programs at random moments and looks at what is left:
// who ran and was not asked to stop runs on, the next command takes it up or
// sweeps it, and in the end nothing is more than before.
func TestKilled(t *testing.T) {
	n := 9
	if os.Getenv(TortureVariable) != "" {
		n = 200
	}
	w := newWorld(t)
	lent := filepath.Join(w.Root, "lent")
	if err := os.Mkdir(lent, 0o755); err != nil {
		t.Fatal(err)
	}
	w.must("create", witness, "debian/bookworm", "--init", "app", "--display", "none")
	w.must("start", witness)
	counting := w.count(t)

	// How long each takes; and everything has been there once.
	took := map[string]time.Duration{}
	all := points(operations(lent), n)
	for _, p := range all {
		if took[p.name] != 0 {
			continue
		}
		w.prepare(p)
		begun := time.Now()
		w.must(p.args...)
		took[p.name] = time.Since(begun)
		if _, exists := w.states()[victim]; exists {
			w.must("rm", "--force", victim)
		}
	}
	w.must("cleanup")
	before := w.census()
	for i, p := range all {
		t.Run(fmt.Sprintf("%03d %s, kill %s", i, p.name, p.target), func(t *testing.T) {
			w.t = t
			delay := time.Duration(p.at * float64(took[p.name]))
			t.Logf("seed %d, point %d: %v after the beginning of %s (which takes %v), kill %s", seed, i, delay, p.name, took[p.name], p.target)
			w.torture(p, delay, counting)
			if more := w.census().changed(before); len(more) > 0 {
				t.Errorf("not as before:\n%s", strings.Join(more, "\n"))
				before = w.census() // the next point is not to be blamed
			}
		})
	}
	w.t = t
	select {
	case err := <-counting.ended:
		t.Errorf("the command that counted in the container ended: %v", err)
	default:
	}
}

// prepare brings the victim into the state in which an operation begins.
func (w *world) prepare(p point) {
	w.t.Helper()
	for _, args := range p.before {
		w.must(args...)
	}
}

func (w *world) torture(p point, delay time.Duration, counting *counting) {
	t := w.t
	defer func() {
		if t.Failed() { // the next point is not to be blamed
			_, _ = w.run("rm", "--force", victim)
			_, _ = w.run("cleanup")
		}
	}()
	w.prepare(p)
	init := 0
	if p.running {
		init = w.init(victim)
	}
	known := map[int]bool{}
	for _, pid := range w.programs(theSupervisor) {
		known[pid] = true
	}
	victims := map[string]int{witness: w.supervisor(witness), victim: w.supervisor(victim)}

	c := w.Command("hutch", p.args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := w.Start(w.Host, c); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // how it ends depends on the moment
	}()
	time.Sleep(delay)
	killed := w.kill(p, c, victims, known, ended)
	select {
	case <-ended:
	case <-time.After(patience):
		t.Errorf("%q does not end", strings.Join(p.args, " "))
		_ = c.Process.Kill()
		<-ended
	}
	t.Logf("killed %v; the command said: %s", killed, said.String())

	counting.goesOn(t)
	// Adopt or sweep.
	t.Logf("cleanup: %s", w.must("cleanup"))
	counting.goesOn(t)
	state, exists := w.states()[victim]
	if p.running {
		if now := w.init(victim); state != "running" || now != init {
			t.Errorf("the container was not asked to stop: it is %q, its first process was %d, now it is %d", state, init, now)
		}
	}
	if exists {
		w.must("start", victim)
		if out := w.must("exec", victim, "--", "sh", "-c", "cat /etc/hostname; test -n \"$(cat /etc/resolv.conf)\" && ls -d /sys/class/net/eth0"); !strings.Contains(out, victim) {
			t.Errorf("inside: %q", out)
		}
		w.must("rm", "--force", victim)
	}
	w.must("cleanup")
	counting.goesOn(t)
}

// patience is how long a command may take before it counts as hung.
const patience = 90 * time.Second

// kill ends what a point wants ended, as soon as there is some of it, and says what
// it was.
func (w *world) kill(p point, c *exec.Cmd, victims map[string]int, known map[int]bool, ended chan struct{}) (killed []string) {
	one := func(program string, pid int) {
		if pid != 0 && unix.Kill(pid, unix.SIGKILL) == nil {
			killed = append(killed, fmt.Sprintf("%s %d", program, pid))
		}
	}
	for {
		all := p.target == everything
		if all || p.target == theCommand {
			one(theCommand, c.Process.Pid)
		}
		if p.target == theWitness || all {
			one(theWitness, victims[witness])
		}
		if p.target == theSupervisor && victims[victim] != 0 {
			one(theSupervisor, victims[victim])
		} else if p.target == theSupervisor || all {
			for _, pid := range w.programs(theSupervisor) {
				if !known[pid] || all {
					one(theSupervisor, pid)
				}
			}
		}
		if p.target == theNetwork || all {
			for _, pid := range w.programs(theNetwork) {
				one(theNetwork, pid)
			}
		}
		if len(killed) > 0 {
			return killed
		}
		select {
		case <-ended:
			return nil // over before there was anything to kill
		default:
		}
	}
}

// run runs hutch and returns its status and what it said.
func (w *world) run(args ...string) (string, error) {
	c := w.Command("hutch", args...)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	if err := w.Start(w.Host, c); err != nil {
		return "", err
	}
	late := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer late.Stop()
	if err := c.Wait(); err != nil {
		return out.String(), fmt.Errorf("hutch %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return out.String(), nil
}

func (w *world) must(args ...string) string {
	w.t.Helper()
	out, err := w.run(args...)
	if err != nil {
		for _, p := range w.processes() {
			w.t.Logf("there is process %d %s %s", p.pid, p.name, p.exe)
		}
		w.t.Fatal(err)
	}
	return out
}

// states are the states of all containers.
func (w *world) states() map[string]string {
	w.t.Helper()
	var list []struct{ Name, State string }
	if err := json.Unmarshal([]byte(w.must("ls", "--format", "json")), &list); err != nil {
		w.t.Fatal(err)
	}
	states := map[string]string{}
	for _, s := range list {
		states[s.Name] = s.State
	}
	return states
}

// init is the first process of a container, 0 where it does not run.
func (w *world) init(name string) int {
	w.t.Helper()
	var info struct{ Process int }
	if err := json.Unmarshal([]byte(w.must("info", name, "--format", "json")), &info); err != nil {
		w.t.Fatal(err)
	}
	return info.Process
}

// supervisor is the process of a container's supervisor, as its run says, 0 where
// there is none.
func (w *world) supervisor(name string) int {
	run, err := store.New(w.layout).Run(name)
	if err != nil {
		w.t.Fatal(err)
	}
	if run == nil {
		return 0
	}
	return run.Supervisor.PID
}

// A counting is a command in the witness that counts as long as it lives.
type counting struct {
	file  string
	ended chan error
}

func (w *world) count(t *testing.T) *counting {
	t.Helper()
	c := w.Command("hutch", "exec", witness, "--user", "0", "--", "sh", "-c", "while echo >>/var/count; do sleep 0.02; done")
	if err := w.Start(w.Host, c); err != nil {
		t.Fatal(err)
	}
	n := &counting{filepath.Join(rootfs.UpperDir(w.layout.Container(witness)), "var/count"), make(chan error, 1)}
	go func() { n.ended <- c.Wait() }()
	n.goesOn(t)
	return n
}

// goesOn sees to it that the count goes up.
func (n *counting) goesOn(t *testing.T) {
	t.Helper()
	size := func() int64 {
		info, err := os.Stat(n.file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if size() > before {
			return
		}
	}
	t.Errorf("what ran in the other container does not go on")
}
