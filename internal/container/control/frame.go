package control

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hutch-project/hutch/internal/sys"
)

// Bounds of a frame's body, in bytes. A request may carry arguments and an
// environment (execve(2): 128 KiB each, some MiB together); answers come from
// inside a container and are short.
const (
	MaxRequest = 4 << 20
	MaxAnswer  = 64 << 10
)

// A Conn carries frames both ways. One goroutine may write while another reads;
// several may write.
type Conn struct {
	unix  *net.UnixConn
	limit int // of what the other end may send, in bytes

	write sync.Mutex

	buffer []byte
	files  []*os.File
}

// NewConn makes a Conn of a connected stream socket; limit bounds the body of a
// frame that the other end may send, in bytes.
func NewConn(c *net.UnixConn, limit int) *Conn { return &Conn{unix: c, limit: limit} }

// Close ends the connection.
func (c *Conn) Close() error { return c.unix.Close() }

// SetDeadline bounds reads and writes; the zero time takes the bound away.
func (c *Conn) SetDeadline(t time.Time) error { return c.unix.SetDeadline(t) }

// Write sends one message; the files stay the caller's.
func (c *Conn) Write(message any, files ...*os.File) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	frame = append(frame, body...)
	c.write.Lock()
	defer c.write.Unlock()
	return sys.Send(c.unix, frame, files...)
}

// Read receives one message into message, and returns the descriptors that came
// with it, the caller's to close. The end of the stream between two frames is
// io.EOF.
func (c *Conn) Read(message any) ([]*os.File, error) {
	body, files, err := c.frame()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, message); err != nil {
		sys.CloseAll(files)
		return nil, fmt.Errorf("a message that is not what it should be: %w", err)
	}
	return files, nil
}

func (c *Conn) frame() ([]byte, []*os.File, error) {
	for {
		if len(c.buffer) >= 4 {
			length := int(binary.BigEndian.Uint32(c.buffer))
			if length > c.limit {
				c.drop()
				return nil, nil, fmt.Errorf("a message of %d bytes, at most %d are taken", length, c.limit)
			}
			if len(c.buffer) >= 4+length {
				body := c.buffer[4 : 4+length]
				c.buffer = c.buffer[4+length:]
				files := c.files
				c.files = nil
				return body, files, nil
			}
		}
		if err := c.more(); err != nil {
			c.drop()
			if errors.Is(err, io.EOF) && len(c.buffer) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, nil, err
		}
	}
}

func (c *Conn) more() error {
	const step = 4 << 10
	if cap(c.buffer)-len(c.buffer) < step {
		c.buffer = append(make([]byte, 0, 2*len(c.buffer)+step), c.buffer...)
	}
	n, files, err := sys.Receive(c.unix, c.buffer[len(c.buffer):cap(c.buffer)])
	if err != nil {
		return err
	}
	c.buffer = c.buffer[:len(c.buffer)+n]
	c.files = append(c.files, files...)
	if len(c.files) > sys.MaxFDs {
		return fmt.Errorf("more than %d descriptors with one message", sys.MaxFDs)
	}
	return nil
}

func (c *Conn) drop() {
	sys.CloseAll(c.files)
	c.files = nil
}
