package sys

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenRoot opens a folder that paths from outside are to be resolved in.
func OpenRoot(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// OpenIn opens path as a process chrooted to root would: absolute symbolic links
// and .. stay inside, and links of /proc lead nowhere (openat2(2),
// RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS). The path is used once; go on with
// the descriptor.
func OpenIn(root *os.File, path string, flags int, perm os.FileMode) (*os.File, error) {
	return openat2(root, path, flags, perm, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenBeneath opens path below root and fails where any part of it is a symbolic
// link or leads out.
func OpenBeneath(root *os.File, path string, flags int, perm os.FileMode) (*os.File, error) {
	return openat2(root, path, flags, perm, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
}

func openat2(root *os.File, path string, flags int, perm os.FileMode, resolve uint64) (*os.File, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	if flags&(unix.O_CREAT|unix.O_TMPFILE) != 0 {
		how.Mode = uint64(perm.Perm())
	}
	for {
		fd, err := unix.Openat2(int(root.Fd()), path, &how)
		if err == unix.EAGAIN || err == unix.EINTR { // a rename elsewhere raced with ..; openat2(2) says to try again
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: filepath.Join(root.Name(), path), Err: err}
		}
		return os.NewFile(uintptr(fd), filepath.Join(root.Name(), path)), nil
	}
}

// RemoveTree removes a folder and all below it, if it is there, but never enters a folder that is
// a mount point in the caller's namespace: it fails there, and what is mounted
// stays whole.
func RemoveTree(dir string) error {
	parent, err := OpenRoot(filepath.Dir(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeAt(parent, filepath.Base(dir))
}

func removeAt(parent *os.File, name string) error {
	at := int(parent.Fd())
	err := unix.Unlinkat(at, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM && err != unix.EBUSY {
		return &os.PathError{Op: "remove", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	}
	fd, err := unix.Openat2(at, name, &how)
	if err != nil {
		return &os.PathError{Op: "remove", Path: filepath.Join(parent.Name(), name), Err: err}
	}
	dir := os.NewFile(uintptr(fd), filepath.Join(parent.Name(), name))
	defer dir.Close()
	for {
		if err := removeNames(dir); err != nil {
			return err
		}
		err := unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
		if err == unix.ENOTEMPTY { // removing entries may hide others from a reader (readdir(3))
			if _, err := dir.Seek(0, io.SeekStart); err != nil {
				return err
			}
			continue
		}
		if err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "remove", Path: dir.Name(), Err: err}
		}
		return nil
	}
}

func removeNames(dir *os.File) error {
	for {
		names, err := dir.Readdirnames(256)
		for _, n := range names {
			if err := removeAt(dir, n); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
