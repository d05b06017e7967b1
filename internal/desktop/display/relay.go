package display

import (
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// chunk is how much is on its way in each direction of a connection; no more is
	// read before it is written.
	chunk = 64 << 10
	// maxRights is the most descriptors one message may carry. X's own transport
	// library sends up to 128 (Xtransint.h).
	maxRights = 128
)

var (
	errRights = errors.New("more descriptors at once than X programs send")
	errNoUse  = errors.New("sends descriptors, which no extension for untrusted programs takes")
)

// relay passes bytes and descriptors both ways until either side ends.
func (b *Broker) relay(client *net.UnixConn, server net.Conn) {
	b.all.Go(func() {
		b.pass(client, server, maxRights)
		// What the server has said before its end is delivered; then the client's.
		client.Close()
		server.Close()
	})
	fromClient := maxRights
	if b.level == Untrusted {
		// All they could do is to fill the server's queue, at the cost of the kernel.
		fromClient = 0
	}
	b.pass(server, client, fromClient)
	server.Close()
	client.Close()
}

func (b *Broker) pass(to, from net.Conn, rights int) {
	err := b.pump(to, from, rights)
	if errors.Is(err, errRights) || errors.Is(err, errNoUse) {
		b.quiet.warn(b.log, "display: client ended", "error", err)
	}
}

// pump moves what arrives from one side to the other. A side that does not read
// stops the other by its full socket, and nobody else. A message may carry as many
// descriptors as rights says.
func (b *Broker) pump(to, from net.Conn, rights int) error {
	buf := make([]byte, chunk)
	source, is := from.(*net.UnixConn)
	if !is { // over TCP no descriptors come
		for {
			n, err := from.Read(buf)
			if n > 0 {
				if _, err := to.Write(buf[:n]); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
		}
	}
	target, _ := to.(*net.UnixConn)
	oob := make([]byte, unix.CmsgSpace(4*maxRights))
	for {
		n, oobn, flags, _, err := source.ReadMsgUnix(buf, oob)
		var fds []int
		if oobn > 0 {
			var parseErr error
			if fds, parseErr = received(oob[:oobn]); parseErr != nil {
				err = errors.Join(err, parseErr)
			}
		}
		if err == nil && rights == 0 && oobn > 0 {
			err = errNoUse
		}
		if err == nil && (flags&unix.MSG_CTRUNC != 0 || len(fds) > rights) {
			err = errRights
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		if err != nil {
			closeAll(fds)
			return err
		}
		if err := b.deliver(to, target, buf[:n], fds); err != nil {
			return err
		}
	}
}

// deliver writes data, with the descriptors beside its first byte, and closes
// them. They may arrive sooner than the byte they stood at, never later and never
// in another order, which is all that X needs.
func (b *Broker) deliver(to net.Conn, target *net.UnixConn, data []byte, fds []int) error {
	if len(fds) == 0 || target == nil {
		closeAll(fds)
		_, err := to.Write(data)
		return err
	}
	if !b.rights.take(len(fds)) {
		closeAll(fds)
		return errRights
	}
	n, _, err := target.WriteMsgUnix(data, unix.UnixRights(fds...), nil)
	closeAll(fds)
	b.rights.give(len(fds))
	if err != nil {
		return err
	}
	if n < len(data) { // WriteMsgUnix may write short, Write does not
		_, err = to.Write(data[n:])
	}
	return err
}

// received takes the descriptors out of control messages. They are close-on-exec:
// Go's net package asks for that.
func received(oob []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var all []int
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return all, err
		}
		all = append(all, fds...)
	}
	return all, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// A budget bounds the descriptors that all of a container's clients have on their
// way: each is one of the supervisor's while the other side does not read.
type budget struct {
	mu   sync.Mutex
	left int
}

func (b *budget) take(n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	b.left += n
	b.mu.Unlock()
}
