package bootstrap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// An edit is one change to a fresh root filesystem: a path that goes, or a file
// or symbolic link that stands there afterwards instead of whatever did.
type edit struct {
	path    string // relative to the root
	remove  bool
	empty   bool   // a folder that loses all that is in it
	link    string // target of a symbolic link
	content string
	mode    fs.FileMode
}

// masked units make no sense in a container, or do there what hutch does from
// outside: one that fails would make systemd call the whole system degraded.
var masked = []string{
	"tmp.mount", // it would cover the display's socket in /tmp (lxd#4540)
	"dev-hugepages.mount", "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
	"sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount", "proc-sys-fs-binfmt_misc.mount",
	"systemd-modules-load.service", "systemd-binfmt.service", "systemd-udevd.service",
	"systemd-udev-trigger.service", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
	"systemd-journald-audit.socket", "systemd-hwdb-update.service", "systemd-pstore.service",
	"systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service", // eth0 is set up before init
	"systemd-timesyncd.service", "systemd-firstboot.service",
	"getty@tty1.service", "getty-static.service",
	"apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer",
	"e2scrub_all.timer", "e2scrub_reap.service",
}

// tmpfiles keeps systemd-tmpfiles of the container away from the display's
// folder, which is mounted there from outside (tmpfiles.d(5): a file in /etc
// stands for the one of the same name in /usr/lib).
const tmpfilesX11 = `x /tmp/.X11-unix
x /tmp/.X11-unix/*
D! /tmp/.ICE-unix 1777 root root 10d
D! /tmp/.XIM-unix 1777 root root 10d
D! /tmp/.font-unix 1777 root root 10d
`

const tmpfilesTmp = `d /tmp 1777 root root 10d
d /var/tmp 1777 root root 30d
`

const hosts = `127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
`

// dressing returns the edits that make a fresh Debian root filesystem an image:
// nothing of the machine it was built on, nothing that must differ from container
// to container, systemd content. zone is the time zone as in zoneinfo(5), or
// empty.
func dressing(sources []string, zone string) []edit {
	edits := []edit{
		{path: "etc/apt/sources.list", content: strings.Join(sources, "\n") + "\n", mode: 0o644},
		{path: "etc/apt/apt.conf.d/99mmdebstrap", remove: true},
		{path: "etc/dpkg/dpkg.cfg.d/99mmdebstrap", remove: true},
		{path: "etc/hostname", remove: true},
		{path: "etc/hosts", content: hosts, mode: 0o644},
		{path: "etc/resolv.conf", content: "", mode: 0o644},
		{path: "etc/machine-id", content: "", mode: 0o444}, // empty: systemd sets one, and does not take it for a first boot (machine-id(5))
		{path: "var/lib/dbus/machine-id", link: "/etc/machine-id"},
		{path: "var/lib/systemd/random-seed", remove: true},
		{path: "usr/sbin/policy-rc.d", remove: true},
		{path: "etc/default/locale", content: "LANG=C.UTF-8\n", mode: 0o644},
		{path: "etc/locale.conf", content: "LANG=C.UTF-8\n", mode: 0o644},
		{path: "etc/tmpfiles.d/x11.conf", content: tmpfilesX11, mode: 0o644},
		{path: "etc/tmpfiles.d/tmp.conf", content: tmpfilesTmp, mode: 0o644},
		{path: "etc/systemd/system/getty.target.wants/getty@tty1.service", remove: true},
		{path: "var/lib/apt/lists", empty: true},
		{path: "var/cache/apt", empty: true},
		{path: "var/cache/ldconfig/aux-cache", remove: true},
		{path: "var/log/apt", empty: true},
		{path: "var/log/dpkg.log", remove: true},
		{path: "var/log/alternatives.log", remove: true},
		{path: "var/log/bootstrap.log", remove: true},
		{path: "run", empty: true},
		{path: "tmp", empty: true},
		{path: "dev", empty: true},
	}
	for _, unit := range masked {
		edits = append(edits, edit{path: "etc/systemd/system/" + unit, link: "/dev/null"})
	}
	if validZone(zone) {
		edits = append(edits,
			edit{path: "etc/localtime", link: "/usr/share/zoneinfo/" + zone},
			edit{path: "etc/timezone", content: zone + "\n", mode: 0o644})
	}
	return edits
}

// validZone knows the names of zoneinfo(5), such as Europe/Berlin.
func validZone(zone string) bool {
	if zone == "" || len(zone) > 64 || !fs.ValidPath(zone) {
		return false
	}
	return strings.IndexFunc(zone, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/_+-", r))
	}) < 0
}

// apply makes the edits below a root that os.Root does not let them leave.
func apply(root *os.Root, edits []edit) error {
	for _, e := range edits {
		if err := applyOne(root, e); err != nil {
			return fmt.Errorf("set up /%s: %w", e.path, err)
		}
	}
	return nil
}

func applyOne(root *os.Root, e edit) error {
	if e.empty {
		return emptyFolder(root, e.path)
	}
	if err := root.RemoveAll(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) || e.remove {
		return err
	}
	if err := root.MkdirAll(path.Dir(e.path), 0o755); err != nil {
		return err
	}
	if e.link != "" {
		return root.Symlink(e.link, e.path)
	}
	if err := root.WriteFile(e.path, []byte(e.content), e.mode); err != nil {
		return err
	}
	return root.Chmod(e.path, e.mode) // whatever the umask
}

func emptyFolder(root *os.Root, name string) error {
	folder, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := folder.Readdirnames(-1)
	if err := errors.Join(err, folder.Close()); err != nil {
		return err
	}
	for _, n := range names {
		if err := root.RemoveAll(path.Join(name, n)); err != nil {
			return err
		}
	}
	return nil
}
