package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// ErrNotRunning says that nobody listens on hutchd's socket.
var ErrNotRunning = errors.New("hutchd is not running")

// A Refusal is hutchd's own no, with what to do about it.
type Refusal struct{ Message, Remedy string }

func (r *Refusal) Error() string {
	if r.Remedy == "" {
		return r.Message
	}
	return r.Message + "; " + r.Remedy
}

// A Client talks to hutchd. It is one connection and not safe for use by
// several goroutines at once.
type Client struct{ conn *net.UnixConn }

// Dial connects to hutchd's socket; the error is ErrNotRunning where nobody
// listens on it.
func Dial(socket string) (*Client, error) {
	c, err := sys.DialUnix("unixpacket", socket)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNotRunning, err)
	}
	return &Client{c}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Attach gives the namespace a port and returns what it was given.
func (c *Client) Attach(a Attach, netns *os.File) (*Lease, error) {
	answer, err := c.ask(Request{Op: OpAttach, Attach: &a}, netns)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", a.Name, err)
	}
	if answer.Lease == nil {
		return nil, fmt.Errorf("attach %s: hutchd answered without a lease", a.Name)
	}
	return answer.Lease, nil
}

// Detach takes the port of a container away; one that has none is no error.
func (c *Client) Detach(id string) error {
	_, err := c.ask(Request{Op: OpDetach, ID: id})
	return err
}

// Forget detaches and frees the addresses of a container that is removed; an
// unknown one is no error.
func (c *Client) Forget(id string) error {
	_, err := c.ask(Request{Op: OpForget, ID: id})
	return err
}

// Retain frees the addresses of containers that are no more: all but those named,
// and those that have a port. It makes good a Forget that found no hutchd. Of more
// than MaxRetain containers it does nothing.
func (c *Client) Retain(ids []string) error {
	if len(ids) > MaxRetain {
		return nil
	}
	ids = append([]string{}, ids...)
	_, err := c.ask(Request{Op: OpRetain, IDs: &ids})
	return err
}

// List returns the ports in use that the caller may see.
func (c *Client) List() ([]Attachment, error) {
	answer, err := c.ask(Request{Op: OpList})
	if err != nil {
		return nil, err
	}
	return answer.Attachments, nil
}

// Status returns what hutchd says of itself.
func (c *Client) Status() (*Status, error) {
	answer, err := c.ask(Request{Op: OpStatus})
	if err != nil {
		return nil, err
	}
	if answer.Status == nil {
		return nil, errors.New("hutchd answered without a status")
	}
	return answer.Status, nil
}

// answerTime is more than any operation takes on a machine under load.
const answerTime = 30 * time.Second

func (c *Client) ask(r Request, files ...*os.File) (*Answer, error) {
	r.Version = Version
	packet, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	if err := sys.Send(c.conn, packet, files...); err != nil {
		return nil, fmt.Errorf("ask hutchd: %w", gone(err))
	}
	buffer := make([]byte, MaxPacket)
	n, stray, err := sys.Receive(c.conn, buffer)
	if err != nil {
		return nil, fmt.Errorf("ask hutchd: %w", gone(err))
	}
	sys.CloseAll(stray)
	var answer Answer
	if err := json.Unmarshal(buffer[:n], &answer); err != nil {
		return nil, fmt.Errorf("hutchd's answer: %w", err)
	}
	if answer.Version != Version {
		return nil, fmt.Errorf("hutchd speaks version %d of the protocol, this hutch %d: restart hutchd", answer.Version, Version)
	}
	if answer.Error != "" {
		return nil, &Refusal{answer.Error, answer.Remedy}
	}
	return &answer, nil
}

// gone makes the errors of a connection whose other side has ended ErrNotRunning: a
// hutchd that dies is as one that is not there.
func gone(err error) error {
	for _, sign := range []error{io.EOF, unix.ECONNRESET, unix.EPIPE} {
		if errors.Is(err, sign) {
			return fmt.Errorf("%w (%w)", ErrNotRunning, err)
		}
	}
	return err
}
