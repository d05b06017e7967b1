package attack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// eachWay tries the ways in which a command comes into a container; each leaves the agent as it
// must be for the next.
func eachWay(t *testing.T, p *prisoner, name string, try func(t *testing.T, way string)) {
	t.Run("resident", func(t *testing.T) {
		p.agent(t, name)
		try(t, "resident")
	})
	t.Run("slow", func(t *testing.T) {
		p.signalAgent(t, name, syscall.SIGSTOP)
		defer p.signalAgent(t, name, syscall.SIGCONT)
		try(t, "slow")
	})
}

// descriptors: of the host's nothing is open inside, in no process (28, CVE-2024-21626).
func descriptors(t *testing.T, p *prisoner) {
	event := regexp.MustCompile(`^anon_inode:\[event(poll|fd)\]$`) // Go's own
	check := func(t *testing.T, who string, pid int, more ...*regexp.Regexp) {
		t.Helper()
		mounts := mountIDs(p.init(t, "box"))
		if who == "init" {
			mounts = mountIDs(p.init(t, "app"))
		}
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil || len(entries) < 3 {
			t.Fatalf("%s: %d descriptors, %v", who, len(entries), err)
		}
		for _, e := range entries {
			var fd int
			fmt.Sscan(e.Name(), &fd)
			to := link(pid, "fd/"+e.Name())
			if fd > 2 && !event.MatchString(to) && !slices.ContainsFunc(more, func(r *regexp.Regexp) bool { return r.MatchString(to) }) {
				t.Errorf("%s holds descriptor %d: %s", who, fd, to)
			}
			if strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/dev/pts/") && !mounts[mountIDOf(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd))] {
				t.Errorf("%s holds descriptor %d on a mount of the host's: %s", who, fd, to)
			}
			if strings.Contains(to, "mnt:[") || strings.Contains(to, "user:[") {
				t.Errorf("%s holds a namespace: %s", who, to)
			}
		}
		for _, of := range []string{"cwd", "root"} {
			fd, err := unix.Open(fmt.Sprintf("/proc/%d/%s", pid, of), unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil || !mounts[mountIDOf(fmt.Sprintf("/proc/self/fdinfo/%d", fd))] {
				t.Errorf("%s has %s on a mount of the host's: %s, %v", who, of, link(pid, of), err)
			}
			unix.Close(fd)
		}
	}
	check(t, "init", p.init(t, "app"))
	socket, console := regexp.MustCompile(`^socket:\[\d+\]$`), regexp.MustCompile(`^/dev/(pts/)?ptmx$`)
	child := regexp.MustCompile(`^anon_inode:\[pidfd\]$`) // Go's own, of the command that it started
	check(t, "the agent", p.agent(t, "box"), socket, console, child)
	if n := sockets3(p.agent(t, "box")); n != 1 {
		t.Errorf("the agent holds %d sockets, not its listener alone", n)
	}
	for _, way := range []string{"resident", "slow"} {
		if way == "slow" {
			p.signalAgent(t, "box", syscall.SIGSTOP)
			defer p.signalAgent(t, "box", syscall.SIGCONT)
		}
		c := p.Command("hutch", "exec", "box", "--user", "0", "--", "sleep", "4711")
		if err := p.Start(p.Host, c); err != nil {
			t.Fatal(err)
		}
		var sleeper int
		for range 400 {
			for pid, line := range p.processes(t, "box") {
				if strings.HasPrefix(line, "sleep 4711") {
					sleeper = pid
				}
			}
			if sleeper != 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if sleeper == 0 {
			t.Fatal("the command did not start")
		}
		check(t, "a command, by the "+way+" way", sleeper)
		for pid, line := range p.processes(t, "box") {
			if strings.Contains(line, " once ") {
				check(t, "the agent of one command", pid, socket, child)
			}
		}
		c.Process.Kill()
		c.Wait()
	}

	// What a hostile image calls init sees what init was given.
	p.create("seen", `display = "none"`)
	defer p.Must("rm", "--force", "seen")
	script := "#!/bin/sh\nls -l /proc/self/fd > /fds; sleep 600\n"
	sbin := filepath.Join(p.upper("seen"), "usr/sbin")
	owner := hostRoot(t, p.upper("seen"))
	if err := os.MkdirAll(sbin, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string]string{filepath.Join(sbin, "init"): script} {
		if err := os.WriteFile(path, []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Chown(path, owner, owner)
	}
	p.Must("start", "seen")
	seen, err := os.ReadFile(filepath.Join(p.upper("seen"), "fds"))
	for range 200 {
		if err == nil && len(seen) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
		seen, err = os.ReadFile(filepath.Join(p.upper("seen"), "fds"))
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(seen)) {
		// 3 is the folder that ls reads.
		if regexp.MustCompile(` ([4-9]|\d\d+) -> `).MatchString(line) || strings.Contains(line, " 3 -> ") && !strings.Contains(line, "/proc/") {
			t.Errorf("an image's own init was given %s", line)
		}
	}
	if !strings.Contains(string(seen), " 2 -> ") {
		t.Errorf("it saw %s", seen)
	}
}

func sockets3(pid int) (n int) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	for _, e := range entries {
		if to := link(pid, "fd/"+e.Name()); e.Name() > "2" && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// hostRoot is the id on the host of a container's root.
func hostRoot(t *testing.T, upper string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(upper, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

func programs(t *testing.T, p *prisoner) string {
	t.Helper()
	sum := ""
	for _, name := range []string{"hutch", "hutchd", "hutch-agent", "hutch-supervisor"} {
		data, err := os.ReadFile(filepath.Join(p.Bin, name))
		info, err2 := os.Stat(filepath.Join(p.Bin, name))
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		sum += fmt.Sprintf("%s %x %v %v\n", name, sha256.Sum256(data), info.Mode(), info.ModTime())
	}
	return sum
}

// spoil tries to write to the agent's program from inside, while it runs and when it
// has ended.
func spoil(t *testing.T, p *prisoner, name string) {
	t.Helper()
	before := programs(t, p)
	p.agent(t, name)
	for _, args := range []string{"exe serve alive", "exe serve"} {
		// It outlives the agent that it ends, and says what it did to the next.
		p.Exec(name, "setsid "+attacker+" "+args+" > /tmp/exe.log 2>&1 &")
		var got map[string]string
		waitUntil(t, "the attack on the agent's program", func() bool {
			got = outcomes(p.Exec(name, "cat /tmp/exe.log").Stdout)
			return got["open_tree"] != ""
		})
		for what, outcome := range got {
			if outcome == "ok" && what != "open_tree" && what != "hold" && what != "mount_setattr of the clone" {
				t.Errorf("%s: %s of the agent's program succeeded", name, what)
			}
		}
		if len(got) < 8 {
			t.Errorf("%s: only %v", name, got)
		}
	}
	if after := programs(t, p); after != before {
		t.Errorf("hutch's own programs changed:\n%s\n%s", before, after)
	}
}

// program: hutch's own programs can not be written to from inside (28, CVE-2019-5736).
func program(t *testing.T, p *prisoner) {
	// On the host, where nothing seals it, the same attack spoils a program.
	prey := filepath.Join(t.TempDir(), "prey")
	if data, err := os.ReadFile("/bin/sleep"); err != nil || os.WriteFile(prey, data, 0o755) != nil {
		t.Fatal(err)
	}
	c := exec.Command(prey, "47110")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go c.Wait()
	if got := p.onHost("exe", "47110"); got["open|0x1"] != "ok" {
		t.Errorf("on the host: %v", got)
	}
	spoil(t, p, "app") // its agent is gone after that
	before := programs(t, p)
	// Every command comes the slow way now: the supervisor's program enters each time.
	watch := make(chan map[string]string)
	go func() { watch <- p.attack("app", "watchexe", "3") }()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		if r := p.Exec("app", "true"); r.Status != 0 {
			t.Errorf("without an agent: %+v", r)
		}
	}
	got := <-watch
	saw := 0
	for what, name := range got {
		if what == "saw" {
			saw++
		}
		if what == "writable" && !strings.HasPrefix(name, "/usr") && !strings.HasPrefix(name, "/bin") {
			t.Errorf("%s could be opened for writing", name)
		}
	}
	if saw == 0 {
		t.Errorf("saw nothing: %v", got)
	}
	if after := programs(t, p); after != before {
		t.Errorf("hutch's own programs changed:\n%s\n%s", before, after)
	}
	p.Must("restart", "app")
}

// confinement: whoever starts a process inside, it may the same.
func confinement(t *testing.T, p *prisoner) {
	tell := `grep -E '^(Cap|Seccomp|NoNewPrivs|Uid|Gid)' /proc/self/status; cat /proc/self/uid_map /proc/self/gid_map
		for n in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$n; done
		echo adj $(cat /proc/self/oom_score_adj)`
	limits := `grep -vE 'pending signals|Max processes' /proc/self/limits`
	for _, user := range []string{"0", "mara"} {
		var first, firstApp string
		eachWay(t, p, "box", func(t *testing.T, way string) {
			r := p.Hutch.Hutch("exec", "box", "--user", user, "--", "sh", "-c", tell)
			if r.Status != 0 || !strings.Contains(r.Stdout, "Seccomp:\t2") {
				t.Fatalf("%+v", r)
			}
			if first == "" {
				first = r.Stdout
			} else if r.Stdout != first {
				t.Errorf("user %s, the resident way:\n%s\nthe slow way:\n%s", user, first, r.Stdout)
			}
		})
		// What the image's init starts is what it starts for its services.
		run := []string{"exec", "box", "--user", "0", "--", "systemd-run", "--pipe", "--wait", "--quiet"}
		if user != "0" {
			run = append(run, "--uid", user)
		}
		r := p.Hutch.Hutch(append(run, "sh", "-c", tell)...)
		if r.Status != 0 || r.Stdout != first {
			t.Errorf("user %s, started by init:\n%s%s\nby hutch:\n%s", user, r.Stdout, r.Stderr, first)
		}
		eachWay(t, p, "app", func(t *testing.T, way string) {
			r := p.Hutch.Hutch("exec", "app", "--user", user, "--", "sh", "-c", tell+"\n"+limits)
			if r.Status != 0 || !strings.Contains(r.Stdout, "NoNewPrivs:\t1") {
				t.Fatalf("%+v", r)
			}
			if firstApp == "" {
				firstApp = r.Stdout
			} else if r.Stdout != firstApp {
				t.Errorf("user %s of app, the resident way:\n%s\nthe slow way:\n%s", user, firstApp, r.Stdout)
			}
		})
		// Init itself, as the host's kernel tells.
		if user == "0" {
			init := p.init(t, "app")
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", init))
			for line := range strings.Lines(string(status)) {
				if regexp.MustCompile(`^(Cap|Seccomp|NoNewPrivs)`).MatchString(line) && !strings.Contains(firstApp, line) {
					t.Errorf("init has %s, a command:\n%s", line, firstApp)
				}
			}
			all, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", init))
			for line := range strings.Lines(string(all)) {
				if !regexp.MustCompile(`pending signals|Max processes`).MatchString(line) && !strings.Contains(firstApp, line) {
					t.Errorf("init has the limit %s, a command:\n%s", line, firstApp)
				}
			}
			adj, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", init))
			if !strings.Contains(firstApp, "adj "+string(adj)) {
				t.Errorf("init has oom_score_adj %s, a command:\n%s", adj, firstApp)
			}
		}
	}
	// All of it is in the container's own groups, so that its limits hold.
	for _, name := range []string{"box", "app"} {
		groups := func(pid int) map[string]string {
			data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			m := map[string]string{}
			for line := range strings.Lines(string(data)) {
				f := strings.SplitN(strings.TrimSpace(line), ":", 3)
				m[f[1]] = f[2]
			}
			return m
		}
		c := p.Command("hutch", "exec", name, "--", "sleep", "4712")
		if err := p.Start(p.Host, c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		for pid, line := range p.processes(t, name) {
			for hierarchy, path := range groups(pid) {
				if !strings.Contains(path+"/", "/"+name+"/") && !strings.Contains(path, "-"+name+".scope") && path != groups(os.Getpid())[hierarchy] {
					t.Errorf("%s: %s is in %s:%s", name, line, hierarchy, path)
				}
				if hierarchy == "" || strings.Contains(hierarchy, "memory") || strings.Contains(hierarchy, "pids") || strings.Contains(hierarchy, "devices") {
					if path == groups(os.Getpid())[hierarchy] {
						t.Errorf("%s: %s is in no group of its own: %s:%s", name, line, hierarchy, path)
					}
				}
			}
		}
		c.Process.Kill()
		c.Wait()
	}
}

// stdio: of the caller's own descriptors none goes inside (CVE-2024-21626).
func stdio(t *testing.T, p *prisoner) {
	files := t.TempDir()
	in, out := filepath.Join(files, "in"), filepath.Join(files, "out")
	eachWay(t, p, "box", func(t *testing.T, way string) {
		users := []string{"0", "mara"}
		if way == "slow" {
			users = users[1:] // each command waits a second for the agent that is stopped
		}
		for _, user := range users {
			for path, data := range map[string]string{in: "whole", out: "earlier secret"} {
				os.Remove(path)
				if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
					t.Fatal(err)
				}
				os.Chmod(path, 0o666)
				os.Chown(path, mara, mara)
			}
			stdin, err1 := os.Open(in)
			stdout, err2 := os.OpenFile(out, os.O_WRONLY|os.O_APPEND, 0)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			got, _ := p.lend(t, stdin, stdout, "exec", "box", "--user", user, "--", attacker, "stdio")
			if now, _ := os.ReadFile(in); string(now) != "whole" {
				t.Errorf("%s wrote to the host's file behind its standard input: %q", user, now)
			}
			onlyPipes(t, "files", got)

			dir, err := os.Open(p.Canary)
			if err != nil {
				t.Fatal(err)
			}
			got, _ = p.lend(t, dir, nil, "exec", "box", "--user", user, "--", attacker, "stdio")
			onlyPipes(t, "a folder", got)

			// A pipe that the person made is the person's inside too: there it can be
			// opened the other way round.
			r, w := personsPipe(t)
			w.Write([]byte("secret"))
			got, _ = p.lend(t, nil, w, "exec", "box", "--user", user, "--", attacker, "stdio")
			onlyPipes(t, "a person's pipe", got)
			if strings.Contains(got, "again 1 r ok") || strings.Contains(got, "again 1 rw ok") {
				t.Errorf("%s could read what others write to the standard output", user)
			}
			r.Close()
			w.Close()

			// So is a FIFO that has a name.
			fifo := filepath.Join(files, "fifo")
			os.Remove(fifo)
			if err := unix.Mkfifo(fifo, 0o666); err != nil {
				t.Fatal(err)
			}
			os.Chmod(fifo, 0o666)
			f, err := os.OpenFile(fifo, os.O_RDWR|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			got, _ = p.lend(t, nil, f, "exec", "box", "--user", user, "--", attacker, "stdio")
			onlyPipes(t, "a FIFO", got)
			if strings.Contains(got, "again 1 r ok") {
				t.Errorf("%s could open the host's FIFO", user)
			}
			f.Close()
		}
		// The caller's terminal is not inside, with a terminal asked for or not.
		for _, option := range []string{"--env=A=b", "-t"} {
			master, slave := hostPty(t)
			var st unix.Stat_t
			unix.Fstat(int(slave.Fd()), &st)
			if way == "slow" && option != "-t" {
				continue
			}
			go drainPty(master)
			got, out := p.lend(t, slave, nil, "exec", "box", option, "--user", "0", "--", attacker, "stdio")
			master.Close()
			if got+out == "" || strings.Contains(got+out, fmt.Sprintf("%d:%d %d", unix.Major(st.Rdev), unix.Minor(st.Rdev), st.Ino)) && strings.Contains(got+out, link(os.Getpid(), fmt.Sprintf("fd/%d", slave.Fd()))+"\n") {
				t.Errorf("%s: %s%s", option, got, out)
			}
			slave.Close()
		}
	})
	// Handed over as it is, a file of the host's can be written to.
	os.WriteFile(in, []byte("whole"), 0o666)
	stdin, err := os.Open(in)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(p.Program, "stdio")
	c.Stdin = stdin
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "again 0 rw ok") {
		t.Errorf("on the host: %v: %s", err, out)
	}
	stdin.Close()
}

// onlyPipes reads what the attacker said of its descriptors.
func onlyPipes(t *testing.T, what, said string) {
	t.Helper()
	if !strings.Contains(said, "is 0 ") {
		t.Fatalf("%s: the attacker said %q", what, said)
	}
	for line := range strings.Lines(said) {
		f := strings.Fields(line)
		switch {
		case f[0] == "is" && f[2] != "010000" && !strings.Contains(line, " 1:3 "):
			t.Errorf("%s: descriptor %s", what, line)
		case f[0] == "is" && !strings.Contains(line, "pipe:[") && !strings.Contains(line, "/dev/null"):
			t.Errorf("%s: descriptor %s", what, line)
		case f[0] == "more" || f[0] == "above" && f[2] == "true":
			t.Errorf("%s: %s", what, line)
		case f[0] == "again" && f[1] == "0" && f[2] != "r" && f[3] == "ok" && !strings.Contains(said, "is 0 020000 1:3"):
			t.Errorf("%s: opened anew for writing: %s", what, line)
		}
	}
}

// lend runs hutch with the given descriptors and returns what was said on standard
// error, and on standard output where none is given.
func (p *prisoner) lend(t *testing.T, stdin, stdout *os.File, args ...string) (said, out string) {
	t.Helper()
	c := p.Command("hutch", args...)
	var e, o bytes.Buffer
	c.Stderr, c.Stdout = &e, &o
	if stdin != nil {
		c.Stdin = stdin
	}
	if stdout != nil {
		c.Stdout = stdout
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.Start(p.Host, c); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { c.Process.Kill() })
	defer timer.Stop()
	if err := c.Wait(); err != nil {
		t.Errorf("hutch %v: %v: %s", args, err, e.String())
	}
	return e.String(), o.String()
}

// withTerminal runs a program with a controlling terminal.
func (p *prisoner) withTerminal(t *testing.T, slave *os.File, name string, args ...string) map[string]string {
	t.Helper()
	c := p.Command(name, args...)
	var out bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = slave, &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.Start(p.Host, c); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	return outcomes(out.String())
}

func hostPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

func drainPty(master *os.File) {
	b := make([]byte, 4096)
	for {
		if _, err := master.Read(b); err != nil {
			return
		}
	}
}

// personsPipe is a pipe that mara made.
func personsPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	err := sys.OnOwnThread(func() (err error) {
		if err := unix.Setfsuid(mara); err != nil {
			return err
		}
		r, w, err = os.Pipe()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(w.Fd()), &st); err != nil || st.Uid != mara {
		t.Fatalf("the pipe is %d's: %v", st.Uid, err)
	}
	return r, w
}

// agentGone: a container without its agent is entered the slow way, at once.
func agentGone(t *testing.T, p *prisoner) {
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
		p.signalAgent(t, "app", signal)
		r := p.timed(t, "exec", "app", "--", "echo", "here")
		if r.status != 0 || r.out != "here\n" {
			t.Errorf("after %v: %+v", signal, r)
		}
	}
	p.Must("restart", "app")
	p.agent(t, "app")
}

type told struct {
	status   int
	out, err string
}

// most is how long hutch may take to see that a container does not answer.
const most = 25 * time.Second

// timed runs hutch and reports one that hangs.
func (p *prisoner) timed(t *testing.T, args ...string) told {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	c := p.Command("hutch", args...)
	var out, err bytes.Buffer
	c.Stdout, c.Stderr = &out, &err
	if e := p.Start(p.Host, c); e != nil {
		t.Fatal(e)
	}
	stop := context.AfterFunc(ctx, func() { c.Process.Kill() })
	defer stop()
	c.Wait()
	if ctx.Err() != nil {
		t.Errorf("hutch %v hangs: %s", args, err.String())
	}
	return told{c.ProcessState.ExitCode(), out.String(), err.String()}
}

// impostor: who answers in the agent's place gains nothing and stops nobody.
func impostor(t *testing.T, p *prisoner) {
	p.container("fake", "display = \"none\"\ninit = \"app\"")
	defer p.Must("rm", "--force", "fake")
	p.agent(t, "fake")
	// It outlives the agent that it came by.
	p.Exec("fake", "setsid "+attacker+" impostor /tmp/manner > /tmp/impostor.log 2>&1 &")
	root := fmt.Sprintf("/proc/%d/root/tmp/", p.init(t, "fake"))
	waitUntil(t, "the impostor to take the listener", func() bool {
		log, _ := os.ReadFile(root + "impostor.log")
		return strings.Contains(string(log), "listener ok")
	})
	descriptors := func() int {
		entries, _ := os.ReadDir("/proc/self/fd")
		return len(entries)
	}
	before := descriptors()
	slower := []string{"silent", "garbage", "closes", "oversized", "many", "drip"} // before a word is said to it
	for _, manner := range append(slower, "hello, endless", "hello, deep", "hello, folder", "hello, file", "hello, null", "hello, many", "hello, escapes", "hello, status", "hello, silent") {
		if err := os.WriteFile(root+"manner", []byte(manner), 0o666); err != nil {
			t.Fatal(err)
		}
		met, _ := os.ReadFile(root + "manner.met")
		var both sync.WaitGroup
		for _, option := range []string{"--env=A=b", "-t"} {
			both.Go(func() {
				r := p.timed(t, "exec", "fake", option, "--", "echo", "here")
				now, _ := os.ReadFile(root + "manner.met")
				if len(now) == len(met) {
					t.Errorf("%s: the impostor was not asked", manner)
				}
				switch {
				case slices.Contains(slower, manner):
					if r.status != 0 || !strings.Contains(r.out, "here") {
						t.Errorf("%s %s: not the slow way: %+v", manner, option, r)
					}
				case manner == "hello, status":
					if r.status < 0 || r.status > 255 {
						t.Errorf("%s: %+v", manner, r)
					}
				case option != "-t" && strings.HasPrefix(manner, "hello, f"), option != "-t" && manner == "hello, null":
					// Nothing was asked for that it could send: it is as a command that
					// goes on, until the impostor leaves.
					if r.status != 125 {
						t.Errorf("%s %s: %+v", manner, option, r)
					}
				case r.status != 125 || r.err == "":
					t.Errorf("%s %s: %+v", manner, option, r)
				}
				if strings.ContainsAny(r.err, "\x1b\x07\r\u009b\u202e") {
					t.Errorf("%s %s: the message is not fit for a terminal: %q", manner, option, r.err)
				}
				if strings.Contains(r.out, "root:") {
					t.Errorf("%s %s: %q", manner, option, r.out)
				}
			})
		}
		both.Wait()
	}
	if after := descriptors(); after > before+4 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// shortCommands: one that has ended before anybody looks was heard all the same.
func shortCommands(t *testing.T, p *prisoner) {
	for i := range 60 {
		if out := p.Must("exec", "app", "-t", "--", "echo", "here"); !strings.Contains(out, "here") {
			t.Errorf("command %d on a terminal: %q", i, out)
		}
	}
}
