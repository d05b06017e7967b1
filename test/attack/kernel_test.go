package attack

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// kernelCalls: what is not namespaced is not there, by no table of calls (38).
func kernelCalls(t *testing.T, p *prisoner) {
	host := p.onHost("calls")
	reached := 0
	for _, outcome := range host {
		if outcome != "ENOSYS" {
			reached++
		}
	}
	if reached < 15 {
		t.Fatalf("on the host only %d calls are there: %v", reached, host)
	}
	for _, user := range []string{"0", "mara"} {
		got := p.attackAs("box", user, "calls")
		if len(got) < len(host)-1 { // x32's may have no outcome but the end of the thread
			t.Fatalf("as %s: %v", user, got)
		}
		for name, outcome := range got {
			if outcome != "ENOSYS" && outcome != "EPERM" {
				t.Errorf("%s as %s: %s (on the host %s)", name, user, outcome, host[name])
			}
		}
	}
	host32, got := p.onHost("calls32"), p.attack("box", "calls32")
	if host32["getpid"] != "ok" {
		t.Skip("this kernel runs no 32 bit programs: there is no second table of calls")
	}
	if len(got) != len(host32) {
		t.Fatalf("calls of 32 bit programs: %v", got)
	}
	for name, outcome := range got {
		if name != "getpid" && outcome != "ENOSYS" && outcome != "EPERM" {
			t.Errorf("32 bit %s: %s (on the host %s)", name, outcome, host32[name])
		}
	}
	families := p.attack("box", "sockets")
	allowed := []int{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}
	for family := range 50 {
		outcome := families[fmt.Sprint(family)]
		if is := slices.Contains(allowed, family); is != (outcome == "ok") || !is && outcome != "ENOSYS" {
			t.Errorf("a socket of family %d: %q", family, outcome)
		}
	}
	if host := p.onHost("sockets"); host["40"] == "ENOSYS" {
		t.Errorf("the host has no list of calls, yet AF_VSOCK is %s", host["40"])
	}
}

// terminal: nothing can be typed into one's terminal, with whatever stands in the bits
// of the request that the kernel does not look at (37).
func terminal(t *testing.T, p *prisoner) {
	r := p.Hutch.Hutch("exec", "box", "--user", "0", "-t", "--", attacker, "tty")
	got := outcomes(strings.ReplaceAll(r.Stdout, "\r", ""))
	if got["tcgets"] != "ok" {
		t.Fatalf("not on a terminal: %+v", r)
	}
	for name, outcome := range got {
		if name != "tcgets" && outcome != "EPERM" {
			t.Errorf("%s: %s", name, outcome)
		}
	}
	if len(got) < 9 {
		t.Errorf("only %v", got)
	}
	// The host's root types happily, so what refused above is the list of calls.
	master, slave := hostPty(t)
	defer master.Close()
	host := p.withTerminal(t, slave, p.Program, "tty")
	if host["tiocsti|0x0"] != "ok" || host["tioclinux|0x0"] == "EPERM" || host["tiocsti|0x100000000"] != "ok" {
		t.Errorf("on the host: %v", host)
	}
}

// kernelFiles: what changes the whole machine can not be written, what tells of it is
// empty, and what covers it stays (39).
func kernelFiles(t *testing.T, p *prisoner) {
	writes := []string{
		"w:/proc/sys/kernel/core_pattern", "w:/proc/sys/kernel/modprobe", "w:/proc/sys/kernel/hotplug", "w:/proc/sys/vm/drop_caches",
		"w:/proc/sys/vm/overcommit_memory", "w:/proc/sys/fs/inotify/max_user_instances", "w:/proc/sys/net/ipv4/ip_forward",
		"w:/proc/sys/user/max_user_namespaces", "w:/proc/sys/fs/binfmt_misc/register", "w:/proc/sys/kernel/ns_last_pid",
		"w:/proc/sysrq-trigger", "w:/proc/irq/default_smp_affinity", "w:/proc/kcore", "rw:/proc/kmem",
		"w:/sys/kernel/uevent_helper", "w:/sys/kernel/mm/transparent_hugepage/enabled", "w:/sys/power/state", "w:/sys/module/kernel/parameters/panic",
		"w:/sys/kernel/profiling", "w:/sys/kernel/fscaps", "w:/sys/class/net/lo/mtu", "w:/sys/fs/cgroup/cgroup.max.depth/../../../kernel/uevent_helper",
	}
	// Only those are tried on the host that do no harm there: opened, not written.
	reads := []string{
		"r:/proc/kcore", "r:/proc/keys", "r:/proc/timer_list", "r:/proc/interrupts", "r:/proc/sched_debug", "r:/proc/latency_stats",
		"r:/proc/kmsg", "r:/dev/kmsg", "r:/dev/mem", "r:/dev/vda", "r:/dev/fuse", "r:/dev/net/tun", "r:/sys/kernel/debug/clear_warn_once",
		"r:/proc/1/root/proc/kcore",
	}
	for _, user := range []string{"0", "mara"} {
		refused(t, p.attackAs("box", user, append([]string{"open"}, slices.Concat(writes, reads)...)...))
	}
	host := p.onHost("open", "r:/proc/kcore", "r:/proc/keys", "r:/proc/timer_list")
	if host["r:/proc/keys"] != "ok" {
		t.Errorf("not even the host can read: %v", host)
	}
	for _, dir := range []string{"/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security", "/sys/fs/bpf", "/sys/dev/block"} {
		if r := p.Exec("box", "[ ! -e "+dir+" ] || ls -A "+dir); r.Status != 0 || r.Stdout != "" {
			t.Errorf("%s holds %q, status %d", dir, r.Stdout, r.Status)
		}
	}
	covered := []string{"/proc/kcore", "/proc/keys", "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/sys/firmware", "/sys/kernel/debug", "/sys", "/proc"}
	got := p.attack("box", append([]string{"unmount"}, covered[:7]...)...)
	refused(t, got)
	got = p.attack("box", append([]string{"remount"}, covered[2:]...)...)
	for _, path := range covered[2:] {
		for _, way := range []string{"remount ", "setattr ", "create "} {
			if got[way+path] == "ok" && path != "/proc" {
				t.Errorf("%s%s succeeded", way, path)
			}
		}
	}
	// After all that, still:
	refused(t, p.attack("box", append([]string{"open"}, writes...)...))
	// A new /proc or /sys, in namespaces of one's own, shows no more than the old.
	for _, line := range []string{
		"unshare -mpf sh -c 'mount -t proc proc /mnt && echo 1 > /mnt/sysrq-trigger'",
		"unshare -Urmpf sh -c 'mount -t proc proc /mnt && echo 1 > /mnt/sysrq-trigger'",
		"unshare -mn sh -c 'mount -t sysfs sysfs /mnt && echo x > /mnt/kernel/uevent_helper'",
		"unshare -mpf sh -c 'mount -t proc proc /mnt && cat /mnt/sys/kernel/core_pattern && echo x > /mnt/sys/kernel/core_pattern'",
		"mount -t debugfs x /mnt", "mount -t tracefs x /mnt", "mount -t securityfs x /mnt", "mount -t bpf x /mnt && ls /mnt/evil",
		"mount -t binfmt_misc x /mnt && echo :x:M::x::/x:C > /mnt/register && [ $(readlink /proc/self/ns/user) = none ]",
	} {
		if r := p.Exec("box", line); r.Status == 0 {
			t.Errorf("%s: done: %s", line, r.Stdout)
		}
	}
}

// lentMounts: what is lent to read stays so, and nothing lent is a way to the host (39).
func lentMounts(t *testing.T, p *prisoner) {
	live := filepath.Join(filepath.Dir(p.Shown), "live")
	if err := os.MkdirAll(live, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(live, "file"), []byte("whole\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	// Each is mounted where its own mounts would show on the host.
	for _, dir := range []string{p.Lent, live} {
		if out, err := p.Run(p.Host, "sh", "-c", fmt.Sprintf("mount --bind %s %s && mount --make-shared %s", dir, dir, dir)); err != nil {
			t.Fatal(err, out)
		}
	}
	p.Must("mount", "box", live+":/live:ro")
	before := snapshot(t, p.Shown) + snapshot(t, live)
	for _, dir := range []string{"/shown", "/live"} {
		if r := p.Exec("box", "cat "+dir+"/file"); r.Stdout != "whole\n" {
			t.Fatalf("%s is not lent: %+v", dir, r)
		}
		got := p.attack("box", "remount", dir)
		refused(t, got)
		refused(t, p.attack("box", "open", "w:"+dir+"/file", "rw:"+dir+"/file", "a:"+dir+"/file"))
		for _, line := range []string{
			"unshare -Urm sh -c 'mount -o remount,rw,bind %[1]s && touch %[1]s/evil'",
			"unshare -m sh -c 'mount --rbind / /mnt && mount -o remount,rw,bind /mnt%[1]s && touch /mnt%[1]s/evil'",
			"mount -t overlay x -o lowerdir=/etc,upperdir=%[1]s,workdir=/tmp /mnt",
		} {
			if r := p.Exec("box", fmt.Sprintf(line, dir)); r.Status == 0 {
				t.Errorf("%s: done", fmt.Sprintf(line, dir))
			}
		}
	}
	if after := snapshot(t, p.Shown) + snapshot(t, live); after != before {
		t.Errorf("what is lent to read changed:\n%s\n%s", before, after)
	}
	// A mount that root inside makes in a lent folder is seen inside alone.
	if r := p.Exec("box", "mkdir -p /lent/m && mount -t tmpfs x /lent/m && touch /lent/m/inside && ls /lent/m"); r.Stdout != "inside\n" {
		t.Fatalf("mount in a lent folder: %+v", r)
	}
	if out, err := p.Run(p.Host, "ls", filepath.Join(p.Lent, "m")); err != nil || out != "" {
		t.Errorf("a mount made inside shows on the host: %q, %v", out, err)
	}
	p.Exec("box", "umount /lent/m; rmdir /lent/m")
	p.Must("unmount", "box", "/live")
}

// cgroupTree: a container sees its own part of the cgroup2 tree, and of no other
// hierarchy can it change anything (39).
func cgroupTree(t *testing.T, p *prisoner) {
	before := p.Exec("box", "cat /proc/self/cgroup")
	for line := range strings.Lines(before.Stdout) {
		if strings.Contains(line, "/..") || strings.Contains(line, "hutch") {
			t.Errorf("the way to the host's groups shows: %s", line)
		}
	}
	for _, name := range []string{"box", "app"} {
		if r := p.Exec(name, "mount | grep cgroup"); strings.Count(r.Stdout, "\n") != 1 || !strings.Contains(r.Stdout, "/sys/fs/cgroup type cgroup2") {
			t.Errorf("%s: mounted are %s", name, r.Stdout)
		}
		got := p.attack(name, "cgroups")
		refused(t, got, "mkdir 2")
		if len(got) < 9 {
			t.Errorf("only %v", got)
		}
	}
	root := fmt.Sprintf("/proc/%d/root/sys/fs/cgroup", p.init(t, "box"))
	for _, r := range []string{
		"echo 1 > /sys/fs/cgroup/../cgroup/cgroup.procs/../x",
		"echo max > /sys/fs/cgroup/memory.max", "echo max > /sys/fs/cgroup/pids.max", "echo 1 > /sys/fs/cgroup/cgroup.freeze", "echo 1 > /sys/fs/cgroup/cgroup.kill",
	} {
		if got := p.Exec("box", r); got.Status == 0 {
			t.Errorf("%s: done, in %s", r, root)
		}
	}
	// Outside, the kernel holds init in a group of its own in each hierarchy.
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.init(t, "box")))
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, "/box") {
			own++
		}
	}
	if own < 1 {
		t.Errorf("no group of its own: %s", data)
	}
}

// devices: no node can be made or opened, whoever lends the folder; the device group
// says the same of a privileged container, who can make nodes.
func devices(t *testing.T, p *prisoner) {
	dirs := []string{"/dev", "/tmp", "/root", "/lent", "/dev/shm"}
	refused(t, p.attack("box", append([]string{"mknod"}, dirs...)...))
	host := t.TempDir()
	if got := p.onHost("mknod", host); got["mknod "+host+"/evil-mem"] != "ok" {
		t.Fatalf("not even the host can: %v", got)
	}
	// A node that the host puts into a lent folder.
	node := filepath.Join(p.Lent, "node")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil { // zero, which does no harm
		t.Fatal(err)
	}
	defer os.Remove(node)
	if f, err := os.Open(node); err != nil && os.IsPermission(err) {
		t.Logf("the host itself can not open it: %v", err) // its file system is nodev
	} else {
		f.Close()
	}
	refused(t, p.attack("box", "open", "r:/lent/node"))

	p.container("priv", "privileged = true\ndisplay = \"none\"\ninit = \"app\"")
	defer p.Must("rm", "--force", "priv")
	got := p.attack("priv", "mknod", "/dev")
	if got["mknod /dev/evil-null"] != "ok" || got["open /dev/evil-null"] != "ok" {
		t.Errorf("a privileged container: %v", got)
	}
	for name, outcome := range got {
		if strings.HasPrefix(name, "open ") && outcome == "ok" && !strings.HasSuffix(name, "-null") {
			t.Errorf("%s in a privileged container", name)
		}
	}
	// Its agent's program is the host's own file: not to be written to either.
	spoil(t, p, "priv")
}

// abstract: sockets of the host without a file are in another namespace (41).
func abstract(t *testing.T, p *prisoner) {
	name := fmt.Sprintf("hutch-attack-%d", os.Getpid())
	var l net.Listener
	if err := p.In(p.Host, func() (err error) {
		l, err = net.Listen("unix", "@"+name)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := p.onHost("connect", name); got["stream"] != "ok" {
		t.Fatalf("not even the host reaches it: %v", got)
	}
	for _, container := range []string{"box", "app"} {
		got := p.attack(container, "connect", name)
		refused(t, got)
		if got["stream"] != "ECONNREFUSED" {
			t.Errorf("%s: %v", container, got)
		}
		if r := p.Exec(container, "grep -c "+name+" /proc/net/unix"); strings.TrimSpace(r.Stdout) != "0" {
			t.Errorf("%s sees the host's sockets", container)
		}
	}
}
