package console

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// LogName is the name of the console's log in the container's folder; what was
// before it, once it is full, has OldSuffix behind.
const (
	LogName   = "console.log"
	OldSuffix = ".1"
)

// maxLog bounds the console's log, in bytes: what a container writes there
// must not fill the disk.
const maxLog = 1 << 20

// A Console reads a container's console for good: into the log, and to whoever is
// attached.
type Console struct {
	terminal *os.File // the master, to be passed on
	master   *os.File // the same, to be read here
	path     string

	mutex    sync.Mutex
	log      *os.File
	size     int64
	attached map[net.Conn]bool
	done     chan struct{}
}

// Open begins to read the master of a console, which is the Console's from then
// on, into the log at path.
func Open(terminal *os.File, path string) (*Console, error) {
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := log.Stat()
	if err != nil {
		log.Close()
		return nil, err
	}
	fd, err := unix.FcntlInt(terminal.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if err := unix.SetNonblock(fd, true); err != nil { // through the poller, so that Close ends a read that waits
		return nil, errors.Join(err, unix.Close(fd), log.Close())
	}
	c := &Console{
		terminal: terminal, master: os.NewFile(uintptr(fd), "console"), path: path, log: log, size: info.Size(),
		attached: map[net.Conn]bool{}, done: make(chan struct{}),
	}
	go c.read()
	return c, nil
}

func (c *Console) read() {
	defer close(c.done)
	// An init lets go of its console between two lines, and systemd hangs it up
	// before it gives it to a login. Reading fails then (pty(7)) for as long as no
	// other side is open, so we hold one, and a new one after each hang-up.
	other := -1
	defer func() { unix.Close(other) }()
	buffer := make([]byte, 4096)
	for {
		n, err := c.master.Read(buffer)
		if n > 0 {
			c.put(buffer[:n])
			continue
		}
		if !errors.Is(err, unix.EIO) {
			return
		}
		unix.Close(other)
		if other, err = openOther(c.master); err != nil {
			return // its file system is gone
		}
	}
}

// openOther opens the container's side of the console (ioctl_tty(2),
// TIOCGPTPEER).
func openOther(master *os.File) (fd int, err error) {
	raw, err := master.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(m uintptr) {
		other, _, errno := unix.Syscall(unix.SYS_IOCTL, m, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if fd = int(other); errno != 0 {
			fd, err = -1, errno
		}
	})
	return fd, errors.Join(controlErr, err)
}

func (c *Console) put(data []byte) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.size > maxLog {
		c.rotate()
	}
	// A full disk loses the log, not the container.
	n, _ := c.log.Write(data)
	c.size += int64(n)
	for conn := range c.attached {
		if _, err := conn.Write(data); err != nil {
			delete(c.attached, conn)
		}
	}
}

func (c *Console) rotate() {
	fresh, err := os.OpenFile(c.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	if err := errors.Join(os.Rename(c.path, c.path+OldSuffix), os.Rename(c.path+".new", c.path)); err != nil {
		fresh.Close()
		return
	}
	c.log.Close()
	c.log, c.size = fresh, 0
}

// Attach joins a connection to the console until it ends.
func (c *Console) Attach(conn net.Conn) {
	c.mutex.Lock()
	c.attached[conn] = true
	c.mutex.Unlock()
	_, _ = io.Copy(c.master, conn) // ends with the connection or the console
	c.mutex.Lock()
	delete(c.attached, conn)
	c.mutex.Unlock()
}

// Close lets go of the console.
func (c *Console) Close() error {
	err := c.master.Close()
	<-c.done
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for conn := range c.attached {
		conn.Close()
	}
	return errors.Join(err, c.terminal.Close(), c.log.Close())
}

// Lend calls f with the master, to be passed to a child.
func (c *Console) Lend(f func(master *os.File) error) error {
	err := f(c.terminal)
	// Passing it on made it, and so what is read here, block.
	return errors.Join(err, unix.SetNonblock(int(c.terminal.Fd()), true))
}

// Resize tells the console its size, in characters.
func (c *Console) Resize(rows, cols uint16) error {
	return c.Lend(func(master *os.File) error {
		return unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}
