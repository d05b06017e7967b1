package agent

import (
	"os"
	"os/signal"
	"time"

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
	var look <-chan time.Time // while ending: those that entered from outside are not our children, nobody tells us when they end
	for {
		select {
		case s := <-signals:
			if s != unix.SIGCHLD && look == nil {
				look = time.Tick(5 * time.Millisecond)
			}
		case <-look:
			// Again and again: one may have entered since.
			_ = unix.Kill(-1, unix.SIGTERM) // nobody left is what is wanted
			_ = unix.Kill(-1, unix.SIGCONT)
		}
		reap()
		if look != nil && alone() {
			return 0
		}
	}
}

// reap collects all children that have ended.
func reap() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if err != unix.EINTR && (err != nil || pid == 0) {
			return
		}
	}
}

// alone says that there is no other process.
func alone() bool { return unix.Kill(-1, 0) == unix.ESRCH }
