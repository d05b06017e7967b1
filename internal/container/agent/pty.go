package agent

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/control"
)

// openPty makes a pty of the container's own devpts, owned by the user.
func openPty(u user, size control.Size) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open a pty: %w", err)
	}
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	defer func() {
		if err != nil {
			master.Close()
		}
	}()
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, fmt.Errorf("unlock a pty: %w", err)
	}
	// By descriptor, not by the name in /dev/pts, which may be another's
	// (ioctl_tty(2), TIOCGPTPEER).
	peer, err := ptyPeer(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("open a pty's other side: %w", err)
	}
	slave = os.NewFile(uintptr(peer), "pts")
	if err := slave.Chown(int(u.uid), -1); err != nil {
		slave.Close()
		return nil, nil, fmt.Errorf("give the pty to %s: %w", u.name, err)
	}
	if size.Rows > 0 && size.Cols > 0 {
		if err := resize(master, size); err != nil {
			slave.Close()
			return nil, nil, err
		}
	}
	return master, slave, nil
}

func resize(master *os.File, size control.Size) error {
	return unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
}

func ptyPeer(master int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
