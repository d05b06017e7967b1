package sys

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// CloneMount returns a detached copy of what path shows (open_tree(2)); it is in
// no namespace and ends with its descriptor unless it is moved somewhere.
func CloneMount(path string, recursive bool) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, flags)
	if err != nil {
		return nil, fmt.Errorf("clone the mount at %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// CloneMountOf is CloneMount of an open file or folder.
func CloneMountOf(f *os.File, recursive bool) (*os.File, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(int(f.Fd()), "", flags)
	if err != nil {
		return nil, fmt.Errorf("clone the mount of %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// SetMount changes the attributes of a mount (mount_setattr(2)): set and clear
// are MOUNT_ATTR_ flags; userns, where not nil, is the user namespace whose id
// mapping the mount gets.
func SetMount(mount *os.File, set, clear uint64, userns *os.File, recursive bool) error {
	attr := unix.MountAttr{Attr_set: set, Attr_clr: clear}
	if userns != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(userns.Fd())
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(int(mount.Fd()), "", flags, &attr); err != nil {
		return fmt.Errorf("change the mount of %s: %w", mount.Name(), err)
	}
	return nil
}

// MoveMount attaches a detached mount at an open target (move_mount(2)).
func MoveMount(mount, target *os.File) error {
	err := unix.MoveMount(int(mount.Fd()), "", int(target.Fd()), "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("mount %s on %s: %w", mount.Name(), target.Name(), err)
	}
	return nil
}

// OnOwnThread runs f on a thread of its own that is thrown away afterwards: what f
// does to the thread's namespaces and credentials ends with it.
func OnOwnThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The first thread can not end: it would stay in the namespace, keep it
			// alive, and make /proc/self show it. While this one holds it, another
			// goroutine runs on another.
			result <- OnOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		result <- f()
	}()
	return <-result
}

// InNamespace runs f on a thread of its own that has entered the given namespace
// (setns(2)). kind is one of unix.CLONE_NEWNS and CLONE_NEWNET.
func InNamespace(ns *os.File, kind int, f func() error) error {
	return OnOwnThread(func() error {
		if kind == unix.CLONE_NEWNS {
			// The folder of the thread must be its own before it may move.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return os.NewSyscallError("unshare", err)
			}
		}
		if err := unix.Setns(int(ns.Fd()), kind); err != nil {
			return os.NewSyscallError("setns", err)
		}
		return f()
	})
}
