package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MakePrivate takes a detached mount out of its peer group
// (mount_namespaces(7), "Shared subtrees"): a clone of a shared mount is in the
// group of the original, so that what is mounted on the one appears on the other,
// whichever namespace they are in.
func MakePrivate(mount *os.File) error {
	attr := unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return fmt.Errorf("make the mount of %s private: %w", mount.Name(), err)
	}
	return nil
}
