package supervisor

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// ConsoleLog is the name of the console's log in the container's folder; what was
// before it, once it is full, has ".1" behind.
const ConsoleLog = "console.log"

// maxConsole bounds the console's log, in bytes: what a container writes there
// must not fill the disk.
const maxConsole = 1 << 20

// A console reads the container's console for good: into the log, and to whoever
// is attached.
type console struct {
	terminal *os.File // the master, to be passed on
	master   *os.File // the same, to be read here
	path     string

	mutex    sync.Mutex
	log      *os.File
	size     int64
	attached map[net.Conn]bool
	done     chan struct{}
}

func openConsole(terminal *os.File, path string) (*console, error) {
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
	c := &console{
		terminal: terminal, master: os.NewFile(uintptr(fd), "console"), path: path, log: log, size: info.Size(),
		attached: map[net.Conn]bool{}, done: make(chan struct{}),
	}
	go c.read()
	return c, nil
}

func (c *console) read() {
	defer close(c.done)
	buffer := make([]byte, 4096)
	for {
		n, err := c.master.Read(buffer)
		if n > 0 {
			c.put(buffer[:n])
		}
		if err != nil { // EIO when the last process inside let go of it (pty(7))
			return
		}
	}
}

func (c *console) put(data []byte) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.size > maxConsole {
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

func (c *console) rotate() {
	fresh, err := os.OpenFile(c.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	if err := errors.Join(os.Rename(c.path, c.path+".1"), os.Rename(c.path+".new", c.path)); err != nil {
		fresh.Close()
		return
	}
	c.log.Close()
	c.log, c.size = fresh, 0
}

// attach joins a connection to the console until it ends.
func (c *console) attach(conn net.Conn) {
	c.mutex.Lock()
	c.attached[conn] = true
	c.mutex.Unlock()
	_, _ = io.Copy(c.master, conn) // ends with the connection or the console
	c.mutex.Lock()
	delete(c.attached, conn)
	c.mutex.Unlock()
}

// Close lets go of the console.
func (c *console) Close() error {
	err := c.master.Close()
	<-c.done
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for conn := range c.attached {
		conn.Close()
	}
	return errors.Join(err, c.terminal.Close(), c.log.Close())
}

// lent must be called after terminal was passed to a child: that made it, and so
// master, block.
func (c *console) lent() error { return unix.SetNonblock(int(c.terminal.Fd()), true) }
