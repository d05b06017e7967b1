package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// NamespaceOwner returns the uid of whoever made a user namespace (ioctl_ns(2),
// NS_GET_OWNER_UID).
func NamespaceOwner(userns *os.File) (uint32, error) {
	var uid uint32
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, userns.Fd(), unix.NS_GET_OWNER_UID, uintptr(unsafe.Pointer(&uid)))
	if errno != 0 {
		return 0, os.NewSyscallError("NS_GET_OWNER_UID", errno)
	}
	return uid, nil
}
