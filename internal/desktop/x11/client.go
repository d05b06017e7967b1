package x11

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxReply bounds what a server may answer to one request: a picture of the
// largest screen, with four bytes a pixel.
const maxReply = 256 << 20

// A Client is a connection to an X server, for a few requests with answers. It
// reads all the time, so that events nobody asked for (MappingNotify goes to every
// client) do not pile up in the server, and the server's end is noticed at once.
type Client struct {
	Server Server

	conn  net.Conn
	order Order

	mu      sync.Mutex // one request at a time
	replies chan reply
	gone    chan struct{} // closed with the connection
	err     error         // why; set before gone is closed
}

type reply struct {
	head [32]byte
	body []byte
}

// NewClient sets a connection up in little-endian order, within the connection's
// deadline, which is then taken off. It takes the connection over, and closes it
// on failure.
func NewClient(conn net.Conn, auth Auth) (*Client, error) {
	c := &Client{conn: conn, order: Little, replies: make(chan reply), gone: make(chan struct{})}
	answer, err := Connect(conn, Setup{Order: c.order, Major: 11, Auth: auth})
	if err == nil {
		c.Server, err = ParseReply(answer, c.order)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	go c.read()
	return c, nil
}

// Connect sends a setup and returns the server's answer as it came, or a
// *RefusedError.
func Connect(conn net.Conn, s Setup) ([]byte, error) {
	if _, err := conn.Write(s.Encode()); err != nil {
		return nil, err
	}
	return ReadReply(conn, s.Order)
}

// Gone is closed when the connection has ended, for whatever reason.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close ends the connection.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.gone
	return err
}

func (c *Client) read() {
	defer close(c.gone)
	defer c.conn.Close()
	for {
		var r reply
		if _, c.err = io.ReadFull(c.conn, r.head[:]); c.err != nil {
			return
		}
		kind := r.head[0] & 0x7F // the high bit marks what SendEvent made
		if kind == 1 || kind == 35 {
			size := 4 * int64(c.order.Uint32(r.head[4:]))
			if size > maxReply {
				c.err = fmt.Errorf("the X server sends %d bytes at once", size)
				return
			}
			if kind == 35 { // GenericEvent: nobody here asked for one
				if _, c.err = io.CopyN(io.Discard, c.conn, size); c.err != nil {
					return
				}
				continue
			}
			r.body = make([]byte, size)
			if _, c.err = io.ReadFull(c.conn, r.body); c.err != nil {
				return
			}
		} else if kind > 1 {
			continue
		}
		select {
		case c.replies <- r:
		case <-time.After(time.Second):
			c.err = errors.New("the X server answers what was not asked")
			return
		}
	}
}

// A RequestError is a server's error on a request.
type RequestError struct{ Code byte }

func (e *RequestError) Error() string {
	return fmt.Sprintf("the X server answered with error %d", e.Code)
}

// ask sends one request and waits for its reply. A failure to answer in time ends
// the connection: what comes later could not be told apart.
func (c *Client) ask(request []byte, timeout time.Duration) (reply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	if err := c.send(request, timeout); err != nil {
		return reply{}, err
	}
	select {
	case r := <-c.replies:
		if r.head[0] == 0 {
			return reply{}, &RequestError{r.head[1]}
		}
		return r, nil
	case <-c.gone:
		return reply{}, fmt.Errorf("the X server has gone: %w", c.err)
	case <-deadline.C:
		c.conn.Close()
		return reply{}, fmt.Errorf("the X server did not answer within %v: %w", timeout, os.ErrDeadlineExceeded)
	}
}

func (c *Client) send(request []byte, timeout time.Duration) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if _, err := c.conn.Write(request); err != nil {
		c.conn.Close()
		return fmt.Errorf("the X server has gone: %w", err)
	}
	return nil
}

// request makes one request: opcode, data byte, length, and what follows, a
// multiple of four bytes.
func (c *Client) request(opcode, data byte, rest []byte) []byte {
	out := make([]byte, 4+len(rest))
	out[0], out[1] = opcode, data
	c.order.PutUint16(out[2:], uint16(len(out)/4))
	copy(out[4:], rest)
	return out
}

// Sync returns when the server has done all that this client asked before: it is
// alive then.
func (c *Client) Sync(timeout time.Duration) error {
	_, err := c.ask(c.request(43, 0, nil), timeout) // GetInputFocus, the cheapest with an answer
	return err
}

// QueryExtension returns the major opcode of an extension, and false where this
// client may not use it or the server has none.
func (c *Client) QueryExtension(name string, timeout time.Duration) (byte, bool, error) {
	rest := make([]byte, 4+padded(len(name)))
	c.order.PutUint16(rest, uint16(len(name)))
	copy(rest[4:], name)
	r, err := c.ask(c.request(98, 0, rest), timeout)
	if err != nil {
		return 0, false, err
	}
	return r.head[9], r.head[8] != 0, nil
}

// An Authorization is a cookie that a server made for its SECURITY extension.
type Authorization struct {
	ID     uint32
	Cookie Auth
}

// GenerateUntrusted asks for a cookie whose bearers are untrusted (SECURITY
// extension, version 1.0, SecurityGenerateAuthorization), given the extension's
// major opcode. It lives until it is revoked or the server resets. No other
// timeout than 0, "never", is used: servers abort on large ones.
func (c *Client) GenerateUntrusted(major byte, timeout time.Duration) (Authorization, error) {
	version := make([]byte, 4)
	c.order.PutUint16(version, 1)
	if _, err := c.ask(c.request(major, 0, version), timeout); err != nil {
		return Authorization{}, err
	}
	const name = "MIT-MAGIC-COOKIE-1"
	rest := make([]byte, 8+padded(len(name))+8)
	c.order.PutUint16(rest, uint16(len(name)))
	c.order.PutUint32(rest[4:], 1|2) // the values that follow: timeout, trust level
	copy(rest[8:], name)
	values := rest[8+padded(len(name)):]
	c.order.PutUint32(values, 0)
	c.order.PutUint32(values[4:], 1) // untrusted
	r, err := c.ask(c.request(major, 1, rest), timeout)
	if err != nil {
		return Authorization{}, err
	}
	size := int(c.order.Uint16(r.head[12:]))
	if size == 0 || size > MaxAuth || size > len(r.body) {
		return Authorization{}, fmt.Errorf("the X server made a cookie of %d bytes", size)
	}
	return Authorization{c.order.Uint32(r.head[8:]), Auth{name, r.body[:size]}}, nil
}

// Revoke makes a cookie void and ends all connections made with it
// (SecurityRevokeAuthorization). It returns when the server has done so.
func (c *Client) Revoke(major byte, id uint32, timeout time.Duration) error {
	rest := make([]byte, 4)
	c.order.PutUint32(rest, id)
	c.mu.Lock()
	err := c.send(c.request(major, 2, rest), timeout)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.Sync(timeout)
}

// RootImage returns the pixels of a screen as the server keeps them: rows of four
// bytes a pixel, blue, green, red, unused, on the little-endian TrueColor screens
// of today.
func (c *Client) RootImage(s Screen, timeout time.Duration) ([]byte, error) {
	rest := make([]byte, 16)
	c.order.PutUint32(rest, s.Root)
	c.order.PutUint16(rest[8:], s.Width)
	c.order.PutUint16(rest[10:], s.Height)
	c.order.PutUint32(rest[12:], 0xFFFFFFFF) // all planes
	r, err := c.ask(c.request(73, 2, rest), timeout)
	if err != nil {
		return nil, err
	}
	if want := 4 * int(s.Width) * int(s.Height); len(r.body) < want {
		return nil, fmt.Errorf("the picture has %d bytes, not %d: only screens with 24 or 32 bits a pixel are read", len(r.body), want)
	}
	return r.body, nil
}
