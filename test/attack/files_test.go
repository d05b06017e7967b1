package attack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// hostMounts are all mounts of the namespace that hutch was started in.
func hostMounts(t *testing.T, p *prisoner) string {
	t.Helper()
	out, err := p.Run(p.Host, "cut", "-d", " ", "-f", "3-6", "/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hostileImage: links in an image lead nowhere but inside, whichever mount they stand
// in the way of (28, 36; CVE-2025-31133, 2025-52565, 2025-52881, 2019-16884).
func hostileImage(t *testing.T, p *prisoner) {
	up := strings.Repeat("../", 30)
	// Every way is to the canary: absolute, and climbing.
	links := map[string]func(upper, to string) error{}
	for _, path := range []string{"dev", "proc", "sys", "run", "tmp", "etc/resolv.conf", "etc/hosts", "home", "etc"} {
		links[path] = func(upper, to string) error {
			if err := os.RemoveAll(filepath.Join(upper, path)); err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(upper, path)), 0o755); err != nil {
				return err
			}
			if strings.Contains(path, "/") {
				to += "/file"
			}
			return os.Symlink(to, filepath.Join(upper, path))
		}
	}
	before, mounts := snapshot(t, p.Canary), hostMounts(t, p)
	var all sync.WaitGroup
	n := 0
	seats := make(chan struct{}, 3)
	for path, spoilt := range links {
		for _, to := range []string{p.Canary, up + p.Canary[1:]} {
			n++
			name := fmt.Sprintf("image%d", n)
			all.Go(func() {
				seats <- struct{}{}
				defer func() { <-seats }()
				p.create(name, "display = \"none\"\ninit = \"app\"\nnetwork = \"none\"", "--mount", p.Lent+":/home/lent:rw", "--mount", p.Shown+"/file:/etc/lent:ro")
				defer p.Must("rm", "--force", name)
				if err := spoilt(p.upper(name), to); err != nil {
					t.Error(err)
					return
				}
				r := p.timed(t, "start", name)
				if r.status != 0 {
					t.Logf("%s -> %s: did not start: %s", path, to, r.err)
					if path == "etc/resolv.conf" || path == "etc/hosts" || path == "home" {
						t.Errorf("%s -> %s: what many images have: %s", path, to, r.err)
					}
					return
				}
				for _, canary := range []string{p.Canary, "/proc/1/root" + p.Canary} {
					if r := p.Exec(name, "grep -rl whole "+canary+" 2>/dev/null"); strings.Contains(r.Stdout, "canary/file\n") && path != "home" {
						// Inside, that very path may hold what was mounted where the link led.
						if r := p.Exec(name, "echo x > "+canary+"/evil; cat "+canary+"/file"); strings.Contains(r.Stdout, "whole") && path != "etc" {
							t.Logf("%s -> %s: %q", path, to, r.Stdout)
						}
					}
				}
				refused(t, outcomesOr(p, name, "open", "w:/proc/sys/kernel/core_pattern", "w:/proc/sysrq-trigger", "r:/proc/kcore", "w:/sys/kernel/uevent_helper"))
			})
		}
	}
	all.Wait()
	if after := snapshot(t, p.Canary); after != before {
		t.Errorf("the canary changed:\n%s\n%s", before, after)
	}
	if after := hostMounts(t, p); after != mounts {
		t.Errorf("mounts of the host changed:\n%s\n%s", mounts, after)
	}
	// The same with a mount that looks at no link: on the host it lands on the canary.
	fake := t.TempDir()
	if err := os.Symlink(p.Canary, filepath.Join(fake, "dev")); err != nil {
		t.Fatal(err)
	}
	if out, err := p.Run(p.Host, "unshare", "-m", "sh", "-c", fmt.Sprintf("mount -t tmpfs x %s/dev && ls %s", fake, p.Canary)); err != nil || out != "" {
		t.Errorf("a careless mount does not reach the canary: %q, %v", out, err)
	}
}

// outcomesOr runs the attacker from a lent folder, as an image may have no place for it.
func outcomesOr(p *prisoner, name string, args ...string) map[string]string {
	program, err := os.ReadFile(p.Program)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.Lent, "attacker"), program, 0o755)
	}
	if err != nil && !errors.Is(err, unix.ETXTBSY) {
		panic(err)
	}
	r := p.Hutch.Hutch(append([]string{"exec", name, "--user", "0", "--", "/home/lent/attacker"}, args...)...)
	return outcomes(r.Stdout + r.Stderr)
}

// flipper: a mount point that becomes a link while the container starts, or while
// something is lent to it, leads nowhere but inside (28, 36).
func flipper(t *testing.T, p *prisoner) {
	lent := filepath.Join(filepath.Dir(p.Lent), "flip")
	for _, dir := range []string{lent, lent + "/x", lent + "/x/deep"} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	up := strings.Repeat("../", 30)
	target := up + p.Canary[1:]
	if err := os.Symlink(target, lent+"/y"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.Canary+"/deep", 0o777); err != nil {
		t.Fatal(err)
	}
	before, mounts := snapshot(t, p.Canary), hostMounts(t, p)
	stop := make(chan struct{})
	var flips int
	var flipping sync.WaitGroup
	flipping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if unix.Renameat2(unix.AT_FDCWD, lent+"/x", unix.AT_FDCWD, lent+"/y", unix.RENAME_EXCHANGE) == nil {
					flips++
				}
			}
		}
	})
	p.create("flip", "display = \"none\"\ninit = \"app\"\nnetwork = \"none\"", "--mount", lent+":/lent:rw", "--mount", p.Shown+":/lent/x/deep:rw")
	started := 0
	for range 6 {
		if r := p.timed(t, "start", "flip"); r.status == 0 {
			started++
			for range 10 {
				p.timed(t, "mount", "flip", p.Shown+":/lent/x/deep/live:rw")
				p.timed(t, "unmount", "flip", "/lent/x/deep/live")
			}
		}
		p.timed(t, "stop", "--force", "flip")
	}
	close(stop)
	flipping.Wait()
	if flips < 1000 || started == 0 {
		t.Errorf("flipped %d times, started %d times", flips, started)
	}
	if after := snapshot(t, p.Canary); after != before {
		t.Errorf("the canary changed:\n%s\n%s", before, after)
	}
	if after := hostMounts(t, p); after != mounts {
		t.Errorf("mounts of the host changed:\n%s\n%s", mounts, after)
	}
	os.Remove(p.Canary + "/deep")
	p.Must("rm", "--force", "flip")
}

// setuid: files of a container's that change who runs them are in nobody's reach, or
// change nothing (35, CVE-2025-64507).
func setuid(t *testing.T, p *prisoner) {
	state := filepath.Join(p.Root, "var/lib/hutch")
	paths := []string{
		filepath.Join(p.upper("box"), "etc/hostname"), p.upper("box"), filepath.Join(p.state("box"), "record.json"),
		filepath.Join(p.state("box"), "console.log"), filepath.Join(p.Root, "run/hutch/containers/box/agent.sock"),
		filepath.Join(p.Root, "run/hutch/containers/box/order.json"),
	}
	images, err := filepath.Glob(filepath.Join(state, "images/*/*"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no image: %v", err)
	}
	paths = append(paths, images...)
	for _, path := range paths {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("root itself: %v", err)
		}
	}
	for _, uid := range []int{65534, mara} {
		err = sys.OnOwnThread(func() error {
			if err := errors.Join(unix.Setgroups(nil), setresid(uid)); err != nil {
				return err
			}
			for _, path := range paths {
				if err := unix.Access(path, unix.F_OK); err != unix.EACCES {
					t.Errorf("user %d reaches %s: %v", uid, path, err)
				}
			}
			return unix.Access(p.Canary, unix.F_OK)
		})
		if err != nil {
			t.Errorf("as %d: %v", uid, err)
		}
	}
	for _, dir := range []string{"containers", "images"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(state, dir), &st); err != nil || st.Mode&0o077 != 0 {
			t.Errorf("%s is of mode %o, %v", dir, st.Mode, err)
		}
	}
	// What container root leaves in a lent folder is nobody's on the host.
	if r := p.Exec("box", "cp /bin/id /lent/evil && chown 0:0 /lent/evil && chmod 6755 /lent/evil && stat -c %u:%a /lent/evil"); r.Stdout != "0:6755\n" {
		t.Fatalf("%+v", r)
	}
	evil := filepath.Join(p.Lent, "evil")
	defer os.Remove(evil)
	var st unix.Stat_t
	if err := unix.Stat(evil, &st); err != nil {
		t.Fatal(err)
	}
	passwd, _ := os.ReadFile("/etc/passwd")
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(line, ":")
		if len(f) > 3 && (f[2] == strconv.Itoa(int(st.Uid)) || f[3] == strconv.Itoa(int(st.Gid))) {
			t.Errorf("container root's file is of the host's %s", line)
		}
	}
	if st.Uid < 65536 || st.Gid < 65536 {
		t.Errorf("container root's file is of %d:%d", st.Uid, st.Gid)
	}
	// Inside, it changes nobody: the folder is nosuid.
	if r := p.Hutch.Hutch("exec", "box", "--", "/lent/evil", "-u"); strings.TrimSpace(r.Stdout) != strconv.Itoa(mara) {
		t.Errorf("a setuid file in a lent folder runs as %+v", r)
	}
	if r := p.Exec("box", "cp /bin/id /root/id; cp /bin/id /usr/local/bin/id-suid; chmod 4755 /usr/local/bin/id-suid"); r.Status != 0 {
		t.Fatal(r)
	}
	if r := p.Hutch.Hutch("exec", "box", "--", "/usr/local/bin/id-suid", "-u"); strings.TrimSpace(r.Stdout) != "0" {
		t.Errorf("in the container's own files setuid works not: %+v", r) // so what refused above was nosuid
	}
}

func setresid(id int) error {
	_, _, gid := syscall.RawSyscall(unix.SYS_SETRESGID, uintptr(id), uintptr(id), uintptr(id))
	_, _, uid := syscall.RawSyscall(unix.SYS_SETRESUID, uintptr(id), uintptr(id), uintptr(id))
	if gid != 0 || uid != 0 {
		return errors.Join(gid, uid)
	}
	return nil
}

// environment: nothing of the host's environment comes inside (40).
func environment(t *testing.T, p *prisoner) {
	key, _, _ := strings.Cut(secret, "=")
	if os.Getenv(key) != "" {
		t.Fatal("the secret is known already")
	}
	// It was there for every command that hutch ran.
	if out := hostEnv(t, p); !strings.Contains(out, key) {
		t.Fatalf("the secret is not even on the host: %s", out)
	}
	for _, name := range []string{"box", "app"} {
		for pid, line := range p.processes(t, name) {
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if err == nil && bytes.Contains(env, []byte(key)) || bytes.Contains(env, []byte("SUDO_UID")) || bytes.Contains(env, []byte("HUTCH_ROOT")) {
				t.Errorf("%s: %s has the host's environment: %q", name, line, env)
			}
		}
		allowed := map[string]bool{"HOME": true, "USER": true, "LOGNAME": true, "SHELL": true, "PATH": true, "LANG": true, "PWD": true, "TERM": true, "_": true, "SHLVL": true, "container": true, "OLDPWD": true}
		eachWay(t, p, name, func(t *testing.T, way string) {
			for _, option := range []string{"--workdir=/", "-t"} {
				out := p.Must("exec", name, option, "--", "env")
				for line := range strings.Lines(out) {
					if k, _, is := strings.Cut(strings.TrimSpace(line), "="); is && !allowed[k] {
						t.Errorf("%s %s %s: %s", name, way, option, line)
					}
				}
				if !strings.Contains(out, "HOME=/home/mara") || !strings.Contains(out, "USER=mara") {
					t.Errorf("%s %s: %s", name, way, out)
				}
			}
			// What is named comes.
			if out := p.Must("exec", name, "--env", key, "--", "env"); !strings.Contains(out, secret) {
				t.Errorf("what was named did not come: %s", out)
			}
		})
	}
	supervisors := 0
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(line, []byte("hutch-supervisor")) && bytes.Contains(env, []byte(p.Root)) {
			supervisors++
			if bytes.Contains(env, []byte(key)) {
				t.Errorf("a supervisor has the host's environment: %q", env)
			}
		}
	}
	if supervisors == 0 {
		t.Error("no supervisor was seen")
	}
}

func hostEnv(t *testing.T, p *prisoner) string {
	c := p.Command("env")
	var out bytes.Buffer
	c.Stdout = &out
	if err := p.Start(p.Host, c); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	return out.String()
}

// text: what a container, or a caller, writes can not write elsewhere than it should,
// nor control the terminal of who reads it (34).
func text(t *testing.T, p *prisoner) {
	const evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\b"
	unfit := func(what, s string) {
		t.Helper()
		if strings.ContainsAny(s, "\x1b\x07\b\u202e\u009b") || strings.Contains(s, "\x9b") {
			t.Errorf("%s is not fit for a terminal: %q", what, s)
		}
	}
	for _, args := range [][]string{
		{"create", "a\nb", "debian/bookworm"}, {"create", evil, "debian/bookworm"}, {"create", "..", "debian/bookworm"}, {"create", "a/b", "debian/bookworm"},
		{"create", "evil1", evil}, {"create", "evil1", "debian/book\nworm"}, {"create", "evil1", "debian/" + evil}, {"create", "evil1", "../../etc"},
		{"create", "evil1", "debian/bookworm", "--install", "evil;" + evil}, {"create", "evil1", "debian/bookworm", "--install", "x11-apps\nevil"}, {"create", "evil1", "debian/bookworm", "--install", "-o" + evil},
		{"create", "evil1", "debian/bookworm", "--mount", "/srv\n/x:/y"}, {"create", "evil1", "debian/bookworm", "--mount", evil + ":/y"},
		{"create", "evil1", "debian/bookworm", "--profile", "../" + evil},
		{"config", "set", "box", "shell", "/bin/sh\nprivileged=true"}, {"config", "set", "box", "network", "none\"\nprivileged = true\nx = \""},
		{"config", "set", "box", evil, "1"}, {"config", "set", "box", "environment.A\nprivileged", "true"},
		{"start", evil}, {"info", "a\nb" + evil}, {"rm", "--force", evil}, {"logs", "../" + evil}, {evil}, {"exec", evil, "--", "true"},
		{"exec", "box", "--user", evil, "--", "true"}, {"exec", "box", "--workdir", "/" + evil, "--", "true"}, {"exec", "box", "--", evil}, {"exec", "box", "--", "/" + evil},
		{"mount", "box", p.Shown + ":/x\n/y"}, {"image", "rm", evil},
	} {
		r := p.Hutch.Hutch(args...)
		if r.Status == 0 {
			t.Errorf("hutch %q: done", args)
		}
		unfit(fmt.Sprintf("hutch %q", args), r.Stdout+r.Stderr)
	}
	if out := p.Must("config", "show", "box"); strings.Contains(out, "privileged = true") {
		t.Errorf("a value wrote another key: %s", out)
	}
	// A value with an escape sequence in it is kept, and shown escaped.
	if r := p.Hutch.Hutch("config", "set", "box", "environment.EVIL", "a\nprivileged = true\n"); r.Status == 0 {
		t.Errorf("a value of many lines was taken")
	}
	p.Must("config", "set", "box", "environment.EVIL", strings.ReplaceAll(evil, "\x9b", "\u009b"))
	out := p.Must("config", "show", "box")
	unfit("config show", out)
	if strings.Contains(out, "\nprivileged = true") {
		t.Errorf("a value wrote another key: %s", out)
	}
	unfit("info", p.Must("info", "box"))
	p.Must("config", "unset", "box", "environment.EVIL")
	unfit("ls", p.Must("ls"))
	// Of a container's own files nothing is believed: its users, its names.
	if r := p.Exec("app", "cp /etc/passwd /etc/passwd.good; printf 'evil:x:77:77:\\033]0;x\\007:/\\033[2J:/bin/\\033[2Jsh\\n' >> /etc/passwd; hostname \"$(printf '\\033[2Jx')\"; true"); r.Status != 0 {
		t.Logf("%+v", r)
	}
	r := p.Hutch.Hutch("exec", "app", "--user", "evil")
	unfit("exec as a hostile user", r.Stderr)
	r = p.Hutch.Hutch("exec", "app", "--user", "evil", "--", "true")
	unfit("exec as a hostile user", r.Stderr)
	p.Exec("app", "mv /etc/passwd.good /etc/passwd; hostname app")
	unfit("info", p.Must("info", "app"))
	unfit("ls", p.Must("ls"))
	// The console comes as it is into a file, and escaped onto a terminal.
	if r := p.Exec("app", "printf 'console\\033]0;owned\\007\\033[2J\\n' > /proc/1/fd/1"); r.Status != 0 {
		t.Fatalf("%+v", r)
	}
	time.Sleep(100 * time.Millisecond)
	if out := p.Must("logs", "app"); !strings.Contains(out, "console\x1b]0;owned") {
		t.Errorf("the log holds %q", out)
	}
	master, slave := hostPty(t)
	c := p.Command("hutch", "logs", "app")
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	if err := p.Start(p.Host, c); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	shown := make(chan string)
	go func() {
		var all bytes.Buffer
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			all.Write(b[:n])
			if err != nil {
				break
			}
		}
		shown <- all.String()
	}()
	c.Wait()
	if s := <-shown; !strings.Contains(s, "console") {
		t.Errorf("on a terminal the log is %q", s)
	} else {
		unfit("the log on a terminal", s)
	}
}

// limits: what one container takes, and breaks, is its own (44).
func limits(t *testing.T, p *prisoner) {
	p.container("small", "display = \"none\"\ninit = \"app\"\nnetwork = \"none\"\npids = 200\nmemory = \"128MiB\"")
	defer p.Must("rm", "--force", "small")
	tasks := func() int {
		entries, _ := os.ReadDir("/proc")
		n := 0
		for _, e := range entries {
			if _, err := strconv.Atoi(e.Name()); err == nil {
				n++
			}
		}
		return n
	}
	// Processes.
	before := tasks()
	bomb := p.Command("hutch", "exec", "small", "--", attacker, "fork")
	if err := p.Start(p.Host, bomb); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the fork bomb to reach its limit", func() bool { return len(p.processes(t, "small")) >= 150 })
	time.Sleep(300 * time.Millisecond)
	if n := len(p.processes(t, "small")); n > 200 {
		t.Errorf("a fork bomb has %d processes", n)
	}
	if n := tasks(); n > before+400 {
		t.Errorf("%d tasks on the host, %d before", n, before)
	}
	if r := p.timed(t, "exec", "box", "--", "echo", "fine"); r.out != "fine\n" {
		t.Errorf("the other container: %+v", r)
	}
	r := p.timed(t, "stop", "--force", "small")
	if r.status != 0 {
		t.Errorf("stop a fork bomb: %+v", r)
	}
	bomb.Wait()
	p.Must("start", "small")

	// Memory.
	if r := p.timed(t, "exec", "small", "--", attacker, "memory"); r.status != 128+9 && r.status != 125 {
		t.Errorf("a memory hog ended with %+v", r)
	}
	if r := p.timed(t, "exec", "small", "--", "sh", "-c", "head -c 400m /dev/zero > /dev/shm/x || head -c 400m /dev/zero > /tmp/x"); r.status == 0 {
		t.Errorf("400 MiB fit into file systems in memory of a container of 128: %+v", r)
	}
	p.timed(t, "stop", "--force", "small")
	p.Must("start", "small")
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}
