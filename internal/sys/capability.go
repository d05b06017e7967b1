package sys

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// KeepCapabilities drops every capability of the process but the given ones, of
// all its threads and for good (capabilities(7)). It needs a program without cgo.
func KeepCapabilities(keep ...int) error {
	var kept uint64
	for _, c := range keep {
		kept |= 1 << c
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if kept>>c&1 != 0 {
			continue
		}
		_, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0)
		if errno != 0 && errno != unix.EINVAL { // one that this kernel does not know
			return fmt.Errorf("drop capability %d: %w", c, errno)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now [2]unix.CapUserData
	if err := unix.Capget(&header, &now[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for i := range now {
		part := uint32(kept >> (32 * i))
		now[i].Permitted &= part
		now[i].Effective = now[i].Permitted
		now[i].Inheritable = 0
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&now[0])), 0)
	if errno != 0 {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}
