package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hutch-project/hutch/internal/ui"
)

// enter runs this program again in a mount and a network namespace of its own
// and returns its exit status.
func enter(args []string) (int, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Run(); cmd.ProcessState == nil {
		return 0, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// A world is where both sides live.
type world struct {
	dir    string // of this run alone
	cgroup string // parent of all LXC cgroups, below each hierarchy's root
}

// First of the ids of LXC's containers; each has idCount of its own, as hutch's.
const (
	firstID = 1_000_000
	idCount = 65536
)

// newWorld makes of the namespaces entered a small host: loopback, an uplink
// with a default route that leads nowhere, a bridge for LXC, the sysfs that
// belongs to the network namespace (LXC looks for its bridge there), subordinate
// ids for root, which newuidmap asks for.
func newWorld(dir string) (*world, error) {
	w := &world{dir: dir, cgroup: fmt.Sprintf("hutch-bench-%d", os.Getpid())}
	subid := filepath.Join(dir, "subid")
	if err := os.WriteFile(subid, fmt.Appendf(nil, "root:%d:%d\n", firstID, 100*idCount), 0o644); err != nil {
		return nil, err
	}
	old := filepath.Join(dir, "cgroup")
	if err := os.Mkdir(old, 0o755); err != nil {
		return nil, err
	}
	for _, line := range []string{
		"mount --make-rprivate /",
		"mount --rbind /sys/fs/cgroup " + old,
		"mount -t sysfs sysfs /sys",
		"mount --rbind " + old + " /sys/fs/cgroup",
		"umount -l " + old,
		"mount --bind " + subid + " /etc/subuid",
		"mount --bind " + subid + " /etc/subgid",
		"ip link set lo up",
		"ip link add up0 type veth peer name up1",
		"ip addr add 23.45.60.2/24 dev up0",
		"ip link set up0 up",
		"ip link set up1 up",
		"ip route add default via 23.45.60.1",
		"ip link add " + bridge + " type bridge",
		"ip addr add 10.77.0.1/16 dev " + bridge,
		"ip link set " + bridge + " up",
	} {
		if err := command(nil, strings.Fields(line)...); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// removeCgroups removes the empty cgroups that LXC leaves, in every hierarchy.
func (w *world) removeCgroups() {
	trees, _ := filepath.Glob("/sys/fs/cgroup/*/" + w.cgroup)
	for _, tree := range append(trees, filepath.Join("/sys/fs/cgroup", w.cgroup)) {
		var all []string
		filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for i := len(all) - 1; i >= 0; i-- { // the innermost first
			os.Remove(all[i])
		}
	}
}

// command runs a program to its end; its output is in the error.
func command(env []string, args ...string) error {
	cmd := exec.Command(args[0], args[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if env != nil {
		cmd.Env = env
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, ui.Escape(strings.TrimSpace(out.String())))
	}
	return nil
}

// memory returns the proportional set size in bytes (proc_pid_smaps(5)) of each
// process of this program that lives in this network namespace, or was started
// with mark in its arguments.
func memory(program, mark string) (sizes []uint64) {
	here, _ := os.Readlink("/proc/self/ns/net")
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		exe, _ := os.Readlink(dir + "/exe")
		if filepath.Base(exe) != program {
			continue
		}
		ns, _ := os.Readlink(dir + "/ns/net")
		args, _ := os.ReadFile(dir + "/cmdline")
		if ns != here && !bytes.Contains(args, []byte(mark)) {
			continue
		}
		rollup, err := os.ReadFile(dir + "/smaps_rollup")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(rollup)) {
			var kib uint64
			if n, _ := fmt.Sscanf(line, "Pss: %d kB", &kib); n == 1 {
				sizes = append(sizes, kib<<10)
			}
		}
	}
	return sizes
}
