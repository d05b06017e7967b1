package sys

import (
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
