package rootfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// LockArgument makes the supervisor's program lock a mount and end: a child in a
// user namespace of its own is what makes the kernel lock it. See LockMain.
const LockArgument = "lock-mount"

// LendLive lends a folder, file or socket to a container that runs: mount is of
// Lendable, target is a path inside. Links in the container's files lead nowhere
// but inside. staging is a folder of the caller's, where a mount point may be left
// if we are killed.
func LendLive(staging string, mountns, mount *os.File, target string, owner Owner) error {
	dir, err := isDir(mount)
	if err != nil {
		return err
	}
	locked, err := lock(staging, mount)
	if err != nil {
		return err
	}
	defer locked.Close()
	return inside(mountns, func(root *os.File) error {
		at, err := makeTarget(root, target, dir, owner)
		if err != nil {
			return err
		}
		defer at.Close()
		return sys.MoveMount(locked, at)
	})
}

// TakeBack unmounts what was lent at a target inside, also while it is in use.
// Root inside may have unmounted it before, which is no error.
func TakeBack(mountns *os.File, target string) error {
	return inside(mountns, func(root *os.File) error {
		parent, err := sys.OpenIn(root, path.Dir(target), unix.O_PATH|unix.O_DIRECTORY, 0)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("take back %s: %w", target, err)
		}
		defer parent.Close()
		// The container's /proc does not know this thread: by the working folder,
		// which is the thread's own, not by a descriptor's name.
		if err := unix.Fchdir(int(parent.Fd())); err != nil {
			return os.NewSyscallError("fchdir", err)
		}
		err = unix.Unmount(path.Base(target), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("take back %s: %w", target, err)
		}
		return nil
	})
}

// inside runs f in the container's mount namespace, with its root folder.
func inside(mountns *os.File, f func(root *os.File) error) error {
	return sys.InNamespace(mountns, unix.CLONE_NEWNS, func() error {
		// Entering a mount namespace moves the thread to its root (setns(2)).
		root, err := sys.OpenRoot("/")
		if err != nil {
			return err
		}
		defer root.Close()
		return f(root)
	})
}

// lock returns a copy of a detached mount whose flags root of a container can not
// change. The kernel locks the flags of mounts that are copied into a mount
// namespace of a less privileged owner (mount_namespaces(7)); so a child in such a
// namespace makes the copy.
func lock(staging string, mount *os.File) (*os.File, error) {
	dir, err := isDir(mount)
	if err != nil {
		return nil, err
	}
	at, cleanup, err := stage(staging, dir)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	f, err := os.OpenFile(at, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := sys.MoveMount(mount, f); err != nil {
		return nil, err
	}
	defer unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "lock"), os.NewFile(uintptr(fds[1]), "lock")
	defer ours.Close()
	c := exec.Command("/proc/self/exe", LockArgument, at)
	c.ExtraFiles = []*os.File{theirs}
	c.Env = []string{}
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	oneG := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: one, GidMappings: oneG, Pdeathsig: unix.SIGKILL,
	}
	// The signal of Pdeathsig comes at the death of the thread that started the
	// child: no other goroutine may end this one meanwhile.
	runtime.LockOSThread()
	out, err := c.CombinedOutput()
	runtime.UnlockOSThread()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("lock a mount: %w: %s", err, out)
	}
	return receive(ours)
}

// stage makes a mount point of the right kind in our own namespace.
func stage(staging string, dir bool) (path string, cleanup func(), err error) {
	if dir {
		path, err = os.MkdirTemp(staging, "lend-")
	} else {
		var f *os.File
		if f, err = os.CreateTemp(staging, "lend-"); err == nil {
			path, err = f.Name(), f.Close()
		}
	}
	return path, func() { os.Remove(path) }, err
}

func receive(socket *os.File) (*os.File, error) {
	buffer, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), buffer, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("lock a mount: no descriptor came back"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.Join(errors.New("lock a mount: no descriptor came back"), err)
	}
	return os.NewFile(uintptr(fds[0]), "locked mount"), nil
}

// LockMain is the child's part: it copies the mount at path, in namespaces of its
// own, and sends the copy through descriptor 3.
func LockMain(path string) error {
	mount, err := sys.CloneMount(path, true)
	if err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(mount.Fd())), nil, 0))
}
