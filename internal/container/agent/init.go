package agent

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// Init is the first process of a container whose image has none, or whose
// configuration wants none: it reaps what is orphaned and, asked to end, asks all
// others to, and ends when they have. It returns the exit status.
func Init() int {
	signals := make(chan os.Signal, 16)
	// SIGHUP comes when the console closes, which is no reason to end.
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGPWR, unix.SIGCHLD)
	ending := false
	for s := range signals {
		if s != unix.SIGCHLD {
			ending = true
			_ = unix.Kill(-1, unix.SIGTERM) // nobody left is what is wanted
			_ = unix.Kill(-1, unix.SIGCONT)
		}
		if left := reap(); ending && !left && alone() {
			return 0
		}
	}
	return 0
}

// reap collects all children that have ended, and says whether any lives.
func reap() (left bool) {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false // ECHILD
		case pid == 0:
			return true
		}
	}
}

// alone says that no other process can be signalled: those that entered the
// container from outside are not our children but end with us.
func alone() bool { return unix.Kill(-1, 0) == unix.ESRCH }
