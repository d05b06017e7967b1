package sys

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// UserNamespace makes a user namespace with the given mappings and returns a
// descriptor of it; nothing runs in it. It serves to give a mount its id mapping
// (mount_setattr(2), "ID-mapped mounts").
func UserNamespace(uids, gids []syscall.SysProcIDMap) (*os.File, error) {
	runtime.LockOSThread() // a tracer is a thread, not a process (ptrace(2))
	defer runtime.UnlockOSThread()
	// The child stops at its first instruction and ends there.
	child, err := os.StartProcess("/proc/self/exe", []string{"userns"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: uids,
		GidMappings: gids,
		Ptrace:      true,
		Pdeathsig:   unix.SIGKILL,
	}})
	if err != nil {
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", child.Pid))
	killed := child.Kill()
	var status unix.WaitStatus
	_, waited := unix.Wait4(child.Pid, &status, unix.WALL, nil)
	for waited == nil && status.Stopped() { // the stop at exec is reported before the end
		_, waited = unix.Wait4(child.Pid, &status, unix.WALL, nil)
	}
	if err := errors.Join(err, killed, waited, child.Release()); err != nil {
		if ns != nil {
			ns.Close()
		}
		return nil, fmt.Errorf("make a user namespace: %w", err)
	}
	return ns, nil
}
