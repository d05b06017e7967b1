package rootfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// sealed are the trees in which the runtime covers what is the whole machine's.
var sealed = []string{"/proc", "/sys"}

// Seal makes what covers parts of /proc and /sys stay: the runtime mounts it with the
// rights that root inside has too, who could unmount it again. Each tree is replaced
// by a copy in which the kernel has locked every mount to the one below. It must be
// called before anything of the container's runs; staging is a folder of the caller's.
func Seal(staging string, mountns *os.File) error {
	trees := make([]*os.File, len(sealed))
	errs := make([]error, len(sealed))
	done := make(chan struct{})
	for i, path := range sealed {
		go func() {
			defer func() { done <- struct{}{} }()
			var tree *os.File
			if errs[i] = inside(mountns, func(*os.File) (err error) {
				tree, err = sys.CloneMount(path, true)
				return err
			}); errs[i] != nil {
				return
			}
			defer tree.Close()
			trees[i], errs[i] = lock(staging, tree)
		}()
	}
	for range sealed {
		<-done
	}
	defer func() {
		for _, t := range trees {
			if t != nil {
				t.Close()
			}
		}
	}()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lock what covers the kernel's files: %w", err)
	}
	return inside(mountns, func(root *os.File) error {
		for i, path := range sealed {
			if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
				return &os.PathError{Op: "unmount", Path: path, Err: err}
			}
			at, err := sys.OpenBeneath(root, path[1:], unix.O_PATH|unix.O_DIRECTORY, 0)
			if err != nil {
				return err
			}
			err = sys.MoveMount(trees[i], at)
			at.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
}
