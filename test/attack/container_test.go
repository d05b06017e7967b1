package attack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/testenv"
)

// A prisoner is a hutch with containers that all attacks on them share: "box" with
// the image's own init and "app" with hutch's, both of the person mara, who has the
// same id on the host. In box the host's folders Lent and Shown are lent, to write
// and to read.
type prisoner struct {
	*testenv.Hutch
	t           *testing.T // of the attack that is on
	Program     string     // the attacker, on the host
	Lent, Shown string
	Canary      string // a folder that no container may reach
}

const (
	attacker = "/usr/local/bin/attacker" // inside
	secret   = "HUTCH_ATTACK_SECRET=do-not-tell"
)

// mara has an id that nobody on the machine has.
const mara = 54321

func newPrisoner(t *testing.T) *prisoner {
	p := &prisoner{Hutch: testenv.NewHutch(t), t: t}
	dir, err := os.MkdirTemp("/var/tmp", "hutch-attack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p.Program = filepath.Join(dir, "attacker")
	build := exec.Command("go", "build", "-o", p.Program, "./testdata/attacker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the attacker: %v\n%s", err, out)
	}
	p.Lent, p.Shown, p.Canary = filepath.Join(dir, "lent"), filepath.Join(dir, "shown"), filepath.Join(dir, "canary")
	for _, d := range []string{p.Lent, p.Shown, p.Canary} {
		err = errors.Join(err, os.Mkdir(d, 0o755), os.WriteFile(filepath.Join(d, "file"), []byte("whole\n"), 0o644))
	}
	passwd, readErr := os.ReadFile("/etc/passwd")
	list := filepath.Join(dir, "passwd")
	err = errors.Join(err, readErr, os.Chmod(dir, 0o755), os.Chown(p.Lent, mara, mara),
		os.WriteFile(list, fmt.Appendf(passwd, "mara:x:%d:%d::/home/mara:/bin/bash\n", mara, mara), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(p.Host, "mount", "--bind", list, "/etc/passwd"); err != nil {
		t.Fatal(err)
	}
	p.Env = append(p.Env, fmt.Sprintf("SUDO_UID=%d", mara), secret)
	return p
}

// Must runs hutch, which has to succeed, and returns its output.
func (p *prisoner) Must(args ...string) string {
	p.t.Helper()
	r := p.Hutch.Hutch(args...)
	if r.Status != 0 {
		p.t.Errorf("hutch %s: status %d\n%s%s", strings.Join(args, " "), r.Status, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// container makes and starts a container with the attacker in it.
func (p *prisoner) container(name, config string, options ...string) {
	p.create(name, config, options...)
	p.Must("start", name)
	p.arm(name)
}

// create makes a container with lines of configuration.
func (p *prisoner) create(name, config string, options ...string) {
	p.Must(append([]string{"create", name, "debian/bookworm"}, options...)...)
	if config != "" {
		p.configure(name, config)
	}
}

func (p *prisoner) configure(name, config string) {
	path := filepath.Join(p.state(name), "config.toml")
	before, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append([]byte(config+"\n"), before...), 0o600); err != nil {
		panic(err)
	}
}

// arm puts the attacker into a container.
func (p *prisoner) arm(name string) {
	program, err := os.ReadFile(p.Program)
	if err != nil {
		panic(err)
	}
	r := p.Input(string(program), "exec", name, "--user", "0", "--", "sh", "-c", "cat > "+attacker+" && chmod 755 "+attacker)
	if r.Status != 0 {
		p.t.Errorf("put the attacker into %s: %+v", name, r)
	}
}

// upper is where a container's own files lie on the host.
func (p *prisoner) state(name string) string {
	return filepath.Join(p.Root, "var/lib/hutch/containers", name)
}
func (p *prisoner) upper(name string) string { return filepath.Join(p.state(name), "upper") }

// attack runs the attacker in a container, as its root unless another is named.
func (p *prisoner) attack(name string, args ...string) map[string]string {
	return p.attackAs(name, "0", args...)
}

func (p *prisoner) attackAs(name, user string, args ...string) map[string]string {
	r := p.Hutch.Hutch(append([]string{"exec", name, "--user", user, "--", attacker}, args...)...)
	return outcomes(r.Stdout + r.Stderr)
}

// onHost runs the attacker with all rights of the host's root: what it can do there
// is what the container must keep it from.
func (p *prisoner) onHost(args ...string) map[string]string {
	c := exec.Command(p.Program, args...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := p.Start(p.Host, c); err != nil {
		panic(err)
	}
	_ = c.Wait() // what it says is what counts
	return outcomes(out.String())
}

func outcomes(out string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if i := strings.LastIndexByte(line, ' '); i >= 0 {
			m[line[:i]] = line[i+1:]
		} else {
			m[line] = ""
		}
	}
	return m
}

// init is the id on the host of a container's first process.
func (p *prisoner) init(t *testing.T, name string) int {
	t.Helper()
	var info struct{ Process int }
	r := p.Hutch.Hutch("info", name, "--format", "json")
	if err := json.Unmarshal([]byte(r.Stdout), &info); err != nil || info.Process <= 1 {
		t.Fatalf("%s: first process %d: %v: %s", name, info.Process, err, r.Stderr)
	}
	return info.Process
}

// processes are all of a container's, on the host, by their command line.
func (p *prisoner) processes(t *testing.T, name string) map[int]string {
	t.Helper()
	ns := link(p.init(t, name), "ns/pid")
	found := map[int]string{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && link(pid, "ns/pid") == ns {
			line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
			found[pid] = strings.ReplaceAll(string(line), "\x00", " ")
		}
	}
	return found
}

func (p *prisoner) agent(t *testing.T, name string) int {
	t.Helper()
	for range 200 { // it is started behind the report
		for pid, line := range p.processes(t, name) {
			if strings.Contains(line, " serve ") {
				return pid
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s has no agent: %v", name, p.processes(t, name))
	return 0
}

// signalAgent sends a signal to a container's agent.
func (p *prisoner) signalAgent(t *testing.T, name string, signal syscall.Signal) {
	t.Helper()
	pid := p.agent(t, name)
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(signal)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if signal != syscall.SIGSTOP || strings.Contains(string(status), "T (stopped)") {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the agent does not stop")
}

func link(pid int, of string) string {
	l, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, of))
	return l
}

// mountIDs are those of all mounts that a process sees.
func mountIDs(pid int) map[string]bool {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	ids := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		id, _, _ := strings.Cut(line, " ")
		ids[id] = true
	}
	return ids
}

func mountIDOf(fdinfo string) string {
	data, _ := os.ReadFile(fdinfo)
	for line := range strings.Lines(string(data)) {
		if id, is := strings.CutPrefix(line, "mnt_id:"); is {
			return strings.TrimSpace(id)
		}
	}
	return ""
}

// snapshot tells everything of a folder that an attack could change.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		data, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %o %d:%d %d %v %q\n", path, st.Mode, st.Uid, st.Gid, st.Dev, st.Mtim, data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// refused ends the test's hope where an attack did not run at all, and reports all
// whose outcome is "ok".
func refused(t *testing.T, got map[string]string, but ...string) {
	t.Helper()
	if len(got) == 0 {
		t.Fatal("the attacker said nothing")
	}
	for name, outcome := range got {
		if outcome == "ok" && !slices.Contains(but, name) {
			t.Errorf("%s succeeded", name)
		}
	}
}

// TestContainer attacks containers. The names begin with the numbers of the threats.
func TestContainer(t *testing.T) {
	p := newPrisoner(t)
	var made sync.WaitGroup
	made.Go(func() {
		p.container("box", `display = "none"`, "--mount", p.Lent+":/lent:rw", "--mount", p.Shown+":/shown:ro")
	})
	made.Go(func() { p.container("app", "display = \"none\"\ninit = \"app\"") })
	made.Wait()
	if t.Failed() {
		return
	}
	for _, attack := range []struct {
		name string
		try  func(*testing.T, *prisoner)
	}{
		{"28-descriptors", descriptors},
		{"28-program", program},
		{"28-image", hostileImage},
		{"28-flipper", flipper},
		{"34-text", text},
		{"35-setuid", setuid},
		{"37-terminal", terminal},
		{"38-calls", kernelCalls},
		{"39-kernel-files", kernelFiles},
		{"39-mounts", lentMounts},
		{"39-cgroups", cgroupTree},
		{"39-devices", devices},
		{"40-environment", environment},
		{"41-abstract", abstract},
		{"44-limits", limits},
		{"confinement", confinement},
		{"stdio", stdio},
		{"agent", agentGone},
		{"impostor", impostor},
		{"terminal-order", shortCommands},
	} {
		t.Run(attack.name, func(t *testing.T) {
			p.t = t
			attack.try(t, p)
		})
	}
}
