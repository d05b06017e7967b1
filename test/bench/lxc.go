package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const bridge = "lxcbench0"

// lxc drives Debian's LXC as its manual pages say, set up as hutch's containers
// are: a user namespace, an overlay over one tree, a veth with an address, the
// cgroup tree inside, a seccomp list, an init that does nothing.
type lxc struct {
	*world
	path string // LXC's folder of containers
	next int    // number of the next address
}

const base = "base"

// newLXC unpacks the tree and makes the container that all others are copied from.
func newLXC(w *world, tree string) (*lxc, error) {
	l := &lxc{world: w, path: filepath.Join(w.dir, "lxc")}
	root := filepath.Join(l.path, base, "rootfs")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chown(root, firstID, firstID); err != nil { //nolint:forbidigo // made a line above
		return nil, err
	}
	mapping := []string{"-m", fmt.Sprintf("b:0:%d:%d", firstID, idCount)}
	unpack := append(append([]string{"lxc-usernsexec"}, mapping...), "--", "tar", "-xpf", tree, "-C", root, "--numeric-owner", "--exclude=./dev/*")
	if err := command(nil, unpack...); err != nil {
		return nil, err
	}
	// The first process ends at once when asked to, as hutch's does.
	init := "#!/bin/sh\ntrap 'exit 0' TERM\nsleep infinity &\nwait\n"
	if err := os.WriteFile(filepath.Join(root, "bench-init"), []byte(init), 0o755); err != nil {
		return nil, err
	}
	return l, l.configure(base, "dir:"+root)
}

func (l *lxc) configure(name, rootfs string) error {
	l.next++
	config := fmt.Sprintf(`lxc.uts.name = %[1]s
lxc.rootfs.path = %[2]s
lxc.idmap = u 0 %[3]d %[4]d
lxc.idmap = g 0 %[3]d %[4]d
lxc.apparmor.profile = unconfined
lxc.seccomp.profile = /usr/share/lxc/config/common.seccomp
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.pty.max = 1024
lxc.cgroup.dir.container = %[5]s/%[1]s/c
lxc.cgroup.dir.monitor = %[5]s/%[1]s/m
lxc.cgroup.dir.monitor.pivot = %[5]s/pivot
lxc.net.0.type = veth
lxc.net.0.link = %[6]s
lxc.net.0.flags = up
lxc.net.0.ipv4.address = 10.77.%[7]d.%[8]d/16
lxc.net.0.ipv4.gateway = 10.77.0.1
lxc.init.cmd = /bench-init
lxc.signal.halt = SIGTERM
`, name, rootfs, firstID, idCount, l.cgroup, bridge, 1+l.next/250, 1+l.next%250)
	dir := filepath.Join(l.path, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o644)
}

func (l *lxc) run(args ...string) error {
	return command(nil, append([]string{args[0], "-P", l.path}, args[1:]...)...)
}

func (l *lxc) create(name string) error {
	return l.run("lxc-copy", "-n", base, "-N", name, "-s", "-B", "overlayfs")
}

// make creates a container that is to be started, with an address of its own: a
// copy has the base's.
func (l *lxc) make(name string) error {
	if err := l.create(name); err != nil {
		return err
	}
	delta := filepath.Join(l.path, name, "overlay", "delta")
	return l.configure(name, "overlay:"+filepath.Join(l.path, base, "rootfs")+":"+delta)
}

// sweep ends what an error left running.
func (l *lxc) sweep() {
	all, _ := filepath.Glob(filepath.Join(l.path, "*", "config"))
	for _, config := range all {
		l.kill(filepath.Base(filepath.Dir(config))) // most do not run, which is an error
	}
}

func (l *lxc) start(name string) error { return l.run("lxc-start", "-n", name) }
func (l *lxc) stop(name string) error  { return l.run("lxc-stop", "-n", name, "-t", "10") }
func (l *lxc) kill(name string) error  { return l.run("lxc-stop", "-n", name, "-k") }
func (l *lxc) rm(name string) error    { return l.run("lxc-destroy", "-n", name, "-f") }
func (l *lxc) ls() error               { return l.run("lxc-ls", "-f") }
func (l *lxc) exec(name string) error {
	return l.run("lxc-attach", "-n", name, "--clear-env", "--", "/bin/true")
}
