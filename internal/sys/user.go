package sys

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// nobody is the group that files of a user are read with: their owner is what
// counts (the kernel's overflow gid).
const nobody = 65534

// AsUser runs f on a thread of its own whose file accesses have the rights of the
// given user and of no group (setfsuid(2): the capabilities to override them are
// dropped with it). The thread is thrown away afterwards. Where the process is not
// root it must be that user already.
func AsUser(uid uint32, f func() error) error {
	if euid := os.Geteuid(); euid != 0 {
		if uint32(euid) != uid {
			return fmt.Errorf("act as user %d: %w", uid, unix.EPERM)
		}
		return f()
	}
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		// The raw call changes this thread alone; the one of the library, all.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
			result <- os.NewSyscallError("setgroups", errno)
			return
		}
		// These two report no errors; a second call says what stands.
		unix.SetfsgidRetGid(nobody)
		unix.SetfsuidRetUid(int(uid))
		if got, _ := unix.SetfsuidRetUid(-1); uint32(got) != uid {
			result <- fmt.Errorf("act as user %d: %w", uid, unix.EPERM)
			return
		}
		result <- f()
	}()
	return <-result
}

// ReadFileAs reads a whole regular file of at most max bytes with the rights of
// the given user. The last part of the path may not be a symbolic link.
func ReadFileAs(uid uint32, path string, max int64) (data []byte, err error) {
	err = AsUser(uid, func() error {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		f := os.NewFile(uintptr(fd), path)
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("read %s: not a regular file", path)
		}
		data, err = io.ReadAll(io.LimitReader(f, max+1))
		if err == nil && int64(len(data)) > max {
			err = fmt.Errorf("read %s: more than %d bytes", path, max)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}
