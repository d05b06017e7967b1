package paths

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// RootVariable names the environment variable that moves the whole system scope
// below another folder, so that a second hutch (a test, a trial) lives beside
// the first without meeting it.
const RootVariable = "HUTCH_ROOT"

// Layout is the set of folders of one scope. All paths are absolute.
type Layout struct {
	Root    string // "/" or the folder named by HUTCH_ROOT
	Config  string // hutch.toml, hutchd.toml, profiles/
	State   string // containers/, images/
	Netd    string // hutchd's own records
	Cache   string // downloads
	Runtime string // sockets, locks, pid records; empty after a reboot
	SubUID  string // subuid(5)
	SubGID  string // subgid(5)
	Cgroup  string // parent cgroup of all containers, relative to each hierarchy's root
}

// System returns the layout of the system scope, below $HUTCH_ROOT where that
// is set.
func System() (Layout, error) { return SystemBelow(os.Getenv(RootVariable)) }

// SystemBelow returns the layout of the system scope below root; an empty root
// means "/".
func SystemBelow(root string) (Layout, error) {
	if root == "" {
		root = "/"
	}
	if !filepath.IsAbs(root) || filepath.Clean(root) != root {
		return Layout{}, fmt.Errorf("%s=%q: must be an absolute path with no . or .. in it", RootVariable, root)
	}
	at := func(p string) string { return filepath.Join(root, p) }
	l := Layout{
		Root:    root,
		Config:  at("etc/hutch"),
		State:   at("var/lib/hutch"),
		Netd:    at("var/lib/hutchd"),
		Cache:   at("var/cache/hutch"),
		Runtime: at("run/hutch"),
		SubUID:  at("etc/subuid"),
		SubGID:  at("etc/subgid"),
		Cgroup:  "hutch",
	}
	if root != "/" {
		sum := sha256.Sum256([]byte(root))
		l.Cgroup = "hutch-" + hex.EncodeToString(sum[:4])
	}
	return l, nil
}

// ConfigFile is the configuration that holds the defaults of all containers.
func (l Layout) ConfigFile() string { return filepath.Join(l.Config, "hutch.toml") }

// NetdConfigFile is the configuration of hutchd.
func (l Layout) NetdConfigFile() string { return filepath.Join(l.Config, "hutchd.toml") }

// ProfileFile is the configuration of a profile.
func (l Layout) ProfileFile(name string) string {
	return filepath.Join(l.Config, "profiles", name+".toml")
}

// Containers is the folder of all containers' lasting state.
func (l Layout) Containers() string { return filepath.Join(l.State, "containers") }

// Container is the folder of one container's lasting state.
func (l Layout) Container(name string) string { return filepath.Join(l.Containers(), name) }

// Images is the image store. It is 0700: setuid files inside keep their
// unshifted owners (CVE-2025-64507).
func (l Layout) Images() string { return filepath.Join(l.State, "images") }

// ContainersRuntime is the folder of all running containers' sockets and records.
func (l Layout) ContainersRuntime() string { return filepath.Join(l.Runtime, "containers") }

// ContainerRuntime is the folder of one running container's sockets and records.
func (l Layout) ContainerRuntime(name string) string {
	return filepath.Join(l.ContainersRuntime(), name)
}

// Locks is the folder of the lock files, one for each name.
func (l Layout) Locks() string { return filepath.Join(l.Runtime, "locks") }

// Mountpoint is an empty folder over which each supervisor, in a mount namespace
// of its own, mounts its container's root filesystem. Unlike the folders beside
// it, the container's first process, which has no right on the host, must be able
// to reach it.
func (l Layout) Mountpoint() string { return filepath.Join(l.Runtime, "rootfs") }

// MakeRuntime makes the runtime folder and the mount point in it.
func (l Layout) MakeRuntime() error {
	if err := os.MkdirAll(l.Mountpoint(), 0o755); err != nil {
		return err
	}
	// Whatever the caller's umask: others may pass, not look.
	return errors.Join(os.Chmod(l.Runtime, 0o711), os.Chmod(l.Mountpoint(), 0o711))
}

// NetdSocket is where hutchd listens.
func (l Layout) NetdSocket() string { return filepath.Join(l.Runtime, "hutchd.sock") }

// RouterNamespace is the file that the router's network namespace is bound to.
func (l Layout) RouterNamespace() string { return filepath.Join(l.Runtime, "router.netns") }
