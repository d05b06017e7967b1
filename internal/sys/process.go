package sys

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Process names one process for as long as the machine is up: its id alone may
// be given to another.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot (proc_pid_stat(5), field 22)
}

// Identify returns the identity of a living process.
func Identify(pid int) (Process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	// The name, field 2, may hold spaces and brackets: count from its end.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return Process{}, fmt.Errorf("/proc/%d/stat: no process name in it", pid)
	}
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) < 20 {
		return Process{}, fmt.Errorf("/proc/%d/stat: %d fields after the name, want 20", pid, len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return Process{}, unix.ESRCH
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Process{}, fmt.Errorf("/proc/%d/stat: start time: %w", pid, err)
	}
	return Process{PID: pid, Start: start}, nil
}

// Alive says whether this very process lives; a zombie does not.
func (p Process) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	now, err := Identify(p.PID)
	return err == nil && now == p
}

// Hears says whether the process has a handler for a signal, or blocks it to take
// it from a queue (proc_pid_status(5), SigCgt and SigBlk).
func (p Process) Hears(sig unix.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil || !p.Alive() {
		return false
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigCgt" && name != "SigBlk" {
			continue
		}
		if set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && set&(1<<(uint(sig)-1)) != 0 {
			return true
		}
	}
	return false
}

// Stopped says whether the process was stopped by a signal or a debugger: it lives
// and does nothing until it is continued (proc_pid_stat(5), field 3).
func (p Process) Stopped() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil || !p.Alive() {
		return false
	}
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return len(rest) > 0 && (rest[0] == 'T' || rest[0] == 't')
}

// Open returns a descriptor of this very process (pidfd_open(2)), or ESRCH.
func (p Process) Open() (*os.File, error) {
	if p.PID <= 0 {
		return nil, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("pidfd:%d", p.PID))
	if !p.Alive() { // the id may have been reused before the descriptor was had
		f.Close()
		return nil, unix.ESRCH
	}
	return f, nil
}

// Signal sends a signal to this very process, or returns ESRCH.
func (p Process) Signal(sig unix.Signal) error {
	f, err := p.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("pidfd_send_signal", unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0))
}

// WaitExit waits until the process behind a process descriptor has ended, for
// at most the given time (a negative one means without end), and says whether it has.
func WaitExit(pidfd *os.File, timeout time.Duration) (bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		left := -1
		if timeout >= 0 {
			left = max(0, int(time.Until(deadline).Milliseconds()))
		}
		fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, left)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, os.NewSyscallError("poll", err)
		}
		return n > 0, nil
	}
}

// BootID names this run of the kernel; records of processes are void in another
// (random(4)).
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(id)), nil
}
