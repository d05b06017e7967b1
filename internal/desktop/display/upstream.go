package display

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/x11"
	"github.com/hutch-project/hutch/internal/desktop/xauth"
	"github.com/hutch-project/hutch/internal/sys"
)

// security is the name of the extension that knows untrusted clients (Security
// Extension Specification, version 7.1).
const security = "SECURITY"

// ErrNoSecurity is returned where a server cannot keep untrusted clients from the
// windows of others. Debian's Xwayland is one of these.
var ErrNoSecurity = errors.New(`the X server has no SECURITY extension, which keeps untrusted programs from other programs' windows; to run without that protection set display = "trusted"`)

// errForeign is returned for a server that is not the person's.
var errForeign = errors.New("belongs to another user; the person's cookie is not shown to it; check DISPLAY")

// dial connects to a display's server, before the context ends.
func dial(ctx context.Context, d desktop.Display) (net.Conn, error) {
	var dialer net.Dialer
	for {
		var conn net.Conn
		var err error
		switch d.Address.Network {
		case desktop.Unix:
			conn, err = dialPath(d.Address.Path)
		case desktop.Abstract:
			conn, err = dialer.DialContext(ctx, "unix", "@"+d.Address.Path)
		case desktop.TCP:
			conn, err = dialer.DialContext(ctx, "tcp", d.Address.Path)
		default:
			return nil, errors.New("no display is set; run hutch in a desktop session")
		}
		if errors.Is(err, unix.EAGAIN) { // the server's queue is full (unix(7), connect)
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(5 * time.Millisecond):
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if err := checkOwner(conn, d.UID); err != nil {
			conn.Close()
			return nil, fmt.Errorf("the X server at %s %w", d.Address, err)
		}
		return conn, nil
	}
}

// dialPath keeps a nil *net.UnixConn from becoming a net.Conn that is not nil.
func dialPath(path string) (net.Conn, error) {
	conn, err := sys.DialUnix("unix", path)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// checkOwner lets servers pass that run as root or as the person. Anybody may take
// a free name in the folder of X's sockets, or an abstract one.
func checkOwner(conn net.Conn, person uint32) error {
	c, is := conn.(*net.UnixConn)
	if !is {
		return nil
	}
	peer, err := sys.Peer(c)
	if err != nil {
		return err
	}
	if peer.Uid != 0 && peer.Uid != person {
		return errForeign
	}
	return nil
}

// personsAuth returns what the person would show to the server at the other end;
// nothing where there is no cookie, for some servers know the person by uid.
func personsAuth(d desktop.Display, conn net.Conn) (x11.Auth, error) {
	if d.AuthorityFile == "" {
		return x11.Auth{}, nil
	}
	data, err := sys.ReadFileAs(d.UID, d.AuthorityFile, xauth.MaxFile)
	if errors.Is(err, os.ErrNotExist) {
		return x11.Auth{}, nil
	}
	if err != nil {
		return x11.Auth{}, err
	}
	records, err := xauth.Parse(data)
	if err != nil && len(records) == 0 {
		return x11.Auth{}, fmt.Errorf("%s: %w", d.AuthorityFile, err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return x11.Auth{}, err
	}
	to := xauth.Server{Number: d.Number, Hostname: hostname}
	if remote, is := conn.RemoteAddr().(*net.TCPAddr); is {
		to.Remote, _ = netip.AddrFromSlice(remote.IP)
	}
	r, ok := xauth.Choose(records, to)
	if !ok || len(r.Data) > x11.MaxAuth {
		return x11.Auth{}, nil
	}
	return x11.Auth{Name: r.Name, Data: r.Data}, nil
}

// open connects to a display as the person.
func open(ctx context.Context, d desktop.Display) (*x11.Client, error) {
	conn, err := dial(ctx, d)
	if err != nil {
		return nil, err
	}
	auth, err := personsAuth(d, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	stop := closeAtEnd(ctx, conn)
	client, err := x11.NewClient(conn, auth)
	if !stop() { // what failed then failed because the connection was closed
		if err == nil {
			client.Close()
		}
		err = ctx.Err()
	}
	if err != nil {
		return nil, hangUp(err)
	}
	return client, nil
}

// closeAtEnd gives a connection the deadline of a context, and closes it where the
// context ends otherwise before stop is called; stop returns false then.
func closeAtEnd(ctx context.Context, conn net.Conn) (stop func() bool) {
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline)
	}
	return context.AfterFunc(ctx, func() { conn.Close() })
}

// hangUp names what a server means that hangs up during the setup.
func hangUp(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("the X server hung up during the connection's setup; a display that ssh forwards takes no cookie but ssh's own, so set display = \"trusted\" there (ssh -X keeps programs untrusted by itself): %w", err)
	}
	return err
}

// revokeTimeout keeps a server that hangs from holding up the end of a container.
const revokeTimeout = 3 * time.Second

// A session is an authorization that one server made for this container. Its
// control connection lives as long as the server remembers the authorization.
type session struct {
	made    chan struct{} // closed when the rest is set
	err     error
	client  *x11.Client
	major   byte // of the SECURITY extension
	id      uint32
	auth    x11.Auth
	clients int // that came in by it; under the broker's mu
}

func (s *session) alive() bool {
	select {
	case <-s.client.Gone():
		return false
	default:
		return true
	}
}

// make asks the server for an authorization.
func (s *session) make(ctx context.Context, d desktop.Display, timeout time.Duration) {
	defer close(s.made)
	s.client, s.err = open(ctx, d)
	if s.err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { s.client.Close() })
	defer stop()
	major, present, err := s.client.QueryExtension(security, timeout)
	if err == nil && !present {
		err = ErrNoSecurity
	}
	if err == nil {
		s.major = major
		var a x11.Authorization
		a, err = s.client.GenerateUntrusted(major, timeout)
		s.id, s.auth = a.ID, a.Cookie
	}
	if err != nil {
		s.client.Close()
		s.err = err
		if ctx.Err() != nil {
			s.err = ctx.Err()
		}
	}
}

// session returns the authorization for the present display, asking for one where
// there is none; whoever comes meanwhile waits for the same answer. It counts one
// more client; leave takes it off.
func (b *Broker) session() (desktop.Display, *session, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return desktop.Display{}, nil, net.ErrClosed
	}
	d := b.upstream
	s := b.sessions[d]
	if s == nil {
		s = &session{made: make(chan struct{})}
		b.sessions[d] = s
		b.all.Go(func() {
			ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
			defer cancel()
			s.make(ctx, d, b.timeout)
			if s.err == nil {
				b.log.Debug("display: the X server gave an untrusted cookie", "server", d.Address.String())
			}
		})
	}
	s.clients++
	b.mu.Unlock()
	<-s.made
	if s.err != nil {
		b.leave(d, s, true)
		return d, nil, s.err
	}
	return d, s, nil
}

// leave takes a client off. A session that has failed, or that nobody will use
// again, is given up.
func (b *Broker) leave(d desktop.Display, s *session, failed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.clients--
	if failed && b.sessions[d] == s {
		delete(b.sessions, d) // the next client asks afresh
	}
	if s.clients > 0 || s.err != nil {
		return
	}
	if current := b.sessions[d] == s; !current || d != b.upstream {
		b.retire(d, s)
	}
}

// retire makes the server forget a session's cookie. It is called under mu.
func (b *Broker) retire(d desktop.Display, s *session) {
	if b.sessions[d] == s {
		delete(b.sessions, d)
	}
	b.all.Go(func() {
		<-s.made
		if s.err != nil {
			return
		}
		if s.alive() {
			if err := s.client.Revoke(s.major, s.id, revokeTimeout); err != nil {
				b.log.Warn("display: could not revoke the container's cookie", "server", d.Address.String(), "error", err)
			}
		}
		s.client.Close()
	})
}

// connect brings a client's setup to the server and returns the connection, with
// the server's answer. done is to be called at the client's end.
func (b *Broker) connect(setup x11.Setup) (conn net.Conn, answer []byte, done func(), err error) {
	if b.level == Trusted {
		conn, answer, err = b.connectTrusted(setup)
		if err != nil {
			return nil, nil, nil, explain(err)
		}
		return conn, answer, func() {}, nil
	}
	// A server that was restarted has forgotten the cookie: ask once more.
	for try := 0; ; try++ {
		d, s, err := b.session()
		if err != nil {
			return nil, nil, nil, explain(err)
		}
		conn, answer, err = b.connectUntrusted(setup, d, s)
		if err == nil {
			return conn, answer, func() { b.leave(d, s, false) }, nil
		}
		stale := b.ctx.Err() == nil && isStale(err)
		b.leave(d, s, stale)
		if !stale || try > 0 {
			return nil, nil, nil, explain(err)
		}
	}
}

func (b *Broker) connectTrusted(setup x11.Setup) (net.Conn, []byte, error) {
	b.mu.Lock()
	d := b.upstream
	b.mu.Unlock()
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	return b.setUp(ctx, d, setup, func(conn net.Conn) (x11.Auth, error) { return personsAuth(d, conn) })
}

func (b *Broker) connectUntrusted(setup x11.Setup, d desktop.Display, s *session) (net.Conn, []byte, error) {
	if !s.alive() {
		return nil, nil, errGone
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	conn, answer, err := b.setUp(ctx, d, setup, func(net.Conn) (x11.Auth, error) { return s.auth, nil })
	if err != nil {
		return nil, nil, err
	}
	// A server that does not know a cookie may let the bearer in nevertheless, for its
	// uid or because `xhost +` was said, and then trusts it. The one that answers on
	// the control connection now is the one that made the cookie, and it was so when
	// it let this client in: a restart or a reset in between would have ended that
	// connection.
	if err := s.client.Sync(b.timeout); err != nil {
		b.forget(conn)
		return nil, nil, err
	}
	return conn, answer, nil
}

var errGone = errors.New("the X server has gone")

// setUp dials and passes the client's setup on with another authorization.
func (b *Broker) setUp(ctx context.Context, d desktop.Display, setup x11.Setup, auth func(net.Conn) (x11.Auth, error)) (net.Conn, []byte, error) {
	conn, err := dial(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	if !b.remember(conn) {
		return nil, nil, net.ErrClosed
	}
	setup.Auth, err = auth(conn)
	var answer []byte
	if err == nil {
		if deadline, ok := ctx.Deadline(); ok {
			conn.SetDeadline(deadline)
		}
		answer, err = x11.Connect(conn, setup)
	}
	if err != nil {
		b.forget(conn)
		return nil, nil, hangUp(err)
	}
	conn.SetDeadline(time.Time{})
	return conn, answer, nil
}

// explain adds to an error what the container is told of it.
func explain(err error) error {
	reason := "the X server of the host is not reachable"
	var refused *x11.RefusedError
	switch {
	case errors.Is(err, ErrNoSecurity):
		reason = `the X server of the host cannot confine programs (no SECURITY extension); to trust this container set display = "trusted"`
	case errors.As(err, &refused):
		reason = "the X server of the host refused the connection"
	case isTimeout(err):
		reason = "the X server of the host does not answer"
	}
	return &refusal{reason, err}
}

// isStale says whether another cookie may help. It must not be the client's to
// decide: each cookie costs the server a connection and memory.
func isStale(err error) bool {
	var refused *x11.RefusedError
	if errors.As(err, &refused) {
		// The words of every server that descends from the X Consortium's (os/connection.c,
		// os/mitauth.c); others are "Maximum number of clients reached" and the like.
		return strings.Contains(refused.Reason, "MIT-MAGIC-COOKIE") || strings.Contains(refused.Reason, "uthoriz")
	}
	return !isTimeout(err)
}

func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
