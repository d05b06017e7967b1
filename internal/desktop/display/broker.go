package display

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/x11"
	"github.com/hutch-project/hutch/internal/desktop/xauth"
	"github.com/hutch-project/hutch/internal/sys"
)

// Names in a broker's folder.
const (
	SocketName    = "X0"         // the socket of display :0
	AuthorityName = "Xauthority" // the container's own cookie for it
)

// A Level says how far the X server trusts a container's programs.
type Level string

const (
	// Untrusted: the SECURITY extension keeps them from other programs' windows.
	Untrusted Level = "untrusted"
	// Trusted: they may do on the screen whatever the person may.
	Trusted Level = "trusted"
)

// Options of a Broker. The zero value of each but UID and GID means its default.
type Options struct {
	Level      Level         // default Untrusted
	UID, GID   uint32        // host's ids of the container's user, who may connect and read the cookie
	MaxClients int           // default 100: an X server has 256 for everybody
	Timeout    time.Duration // of each part of a connection's setup; default 10 s
	Log        *slog.Logger  // default: none
}

// A Broker serves one container. Its folder is to be bind-mounted, read only, as
// /tmp/.X11-unix in the container; DISPLAY is ":0" there, and XAUTHORITY names
// the file AuthorityName in the same folder.
type Broker struct {
	dir      string
	level    Level
	max      int
	timeout  time.Duration
	log      *slog.Logger
	listener *net.UnixListener
	cookie   []byte
	rights   budget // descriptors on their way
	refusing chan struct{}
	quiet    quiet

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	all    sync.WaitGroup // goroutines of clients

	mu       sync.Mutex
	closed   bool
	clients  map[net.Conn]struct{} // both ends of each
	count    int                   // clients
	upstream desktop.Display       // the zero value: none yet
	sessions map[desktop.Display]*session
}

// New makes the socket and the cookie in dir, which is made where it is missing;
// what an earlier broker left there is replaced. Nobody is served before Serve.
func New(dir string, o Options) (b *Broker, err error) {
	fail := func(err error) (*Broker, error) { return nil, fmt.Errorf("display broker in %s: %w", dir, err) }
	switch o.Level {
	case "":
		o.Level = Untrusted
	case Untrusted, Trusted:
	default:
		return fail(fmt.Errorf("unknown level %q; use %q or %q", o.Level, Untrusted, Trusted))
	}
	if o.MaxClients <= 0 {
		o.MaxClients = 100
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fail(err)
	}
	// Whatever the umask is: the container's user must get through, and write nothing.
	if err := os.Chmod(dir, 0o755); err != nil {
		return fail(err)
	}
	b = &Broker{
		dir: dir, level: o.Level, max: o.MaxClients, timeout: o.Timeout, log: o.Log,
		cookie:   make([]byte, 16),
		refusing: make(chan struct{}, 8),
		rights:   budget{left: 512},
		clients:  map[net.Conn]struct{}{},
		sessions: map[desktop.Display]*session{},
	}
	rand.Read(b.cookie) // never fails
	file, err := xauth.Encode(xauth.Wild(0, b.cookie))
	if err != nil {
		return fail(err)
	}
	if err := atomicfile.Write(b.AuthorityFile(), file, 0o400); err != nil {
		return fail(err)
	}
	if err := os.Lchown(b.AuthorityFile(), int(o.UID), int(o.GID)); err != nil {
		return fail(errors.Join(err, os.Remove(b.AuthorityFile())))
	}
	if err := os.Remove(b.Socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(errors.Join(err, os.Remove(b.AuthorityFile())))
	}
	b.listener, err = sys.ListenUnix("unix", b.Socket(), 0o600)
	if err != nil {
		return fail(errors.Join(err, os.Remove(b.AuthorityFile())))
	}
	if err := os.Lchown(b.Socket(), int(o.UID), int(o.GID)); err != nil {
		return fail(errors.Join(err, b.listener.Close(), os.Remove(b.Socket()), os.Remove(b.AuthorityFile())))
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// Socket is the path of the broker's socket on the host.
func (b *Broker) Socket() string { return filepath.Join(b.dir, SocketName) }

// AuthorityFile is the path of the container's cookie on the host.
func (b *Broker) AuthorityFile() string { return filepath.Join(b.dir, AuthorityName) }

// SetUpstream says on which display programs started from now on appear. Those
// that run stay where they are.
func (b *Broker) SetUpstream(d desktop.Display) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.upstream == d {
		return
	}
	old := b.upstream
	b.upstream = d
	if s := b.sessions[old]; s != nil && s.clients == 0 {
		b.retire(old, s)
	}
}

// Serve lets clients in until the context ends or Close is called, and then
// closes the broker. It returns an error only where it could not go on.
func (b *Broker) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { b.Close() })
	defer stop()
	for {
		conn, err := b.listener.AcceptUnix()
		if err == nil {
			b.enter(conn)
			continue
		}
		if b.ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("display broker in %s: %w", b.dir, err)
		}
		// Out of descriptors or memory: those that end give room to those that wait.
		b.quiet.warn(b.log, "display: cannot accept a client", "error", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-b.ctx.Done():
		}
	}
}

// Close ends every client, makes the server forget the container's cookies and
// removes socket and cookie file. It may be called again.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		b.all.Wait()
		return nil
	}
	b.closed = true
	b.cancel()
	err := b.listener.Close()
	for c := range b.clients {
		c.Close()
	}
	b.mu.Unlock()
	b.all.Wait() // no client is left that a void cookie could let in by other ways
	b.mu.Lock()
	for d, s := range b.sessions {
		b.retire(d, s)
	}
	b.mu.Unlock()
	b.all.Wait()
	return errors.Join(err, ignoreMissing(os.Remove(b.Socket())), ignoreMissing(os.Remove(b.AuthorityFile())))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// enter starts serving one client, or turns it away where there are too many.
func (b *Broker) enter(conn *net.UnixConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		conn.Close()
		return
	}
	if b.count >= b.max {
		select {
		case b.refusing <- struct{}{}:
		default: // not even time for an answer
			conn.Close()
			return
		}
		b.clients[conn] = struct{}{}
		b.all.Go(func() {
			defer func() { <-b.refusing }()
			defer b.forget(conn)
			b.turnAway(conn)
		})
		return
	}
	b.count++
	b.clients[conn] = struct{}{}
	b.all.Go(func() {
		defer func() {
			b.mu.Lock()
			b.count--
			b.mu.Unlock()
		}()
		defer b.forget(conn)
		b.serve(conn)
	})
}

func (b *Broker) turnAway(conn *net.UnixConn) {
	conn.SetDeadline(time.Now().Add(time.Second))
	if s, err := x11.ReadSetup(conn); err == nil {
		conn.Write(x11.EncodeFailed(s.Order, fmt.Sprintf("hutch: this container has %d connections to the display already\n", b.max)))
		b.quiet.warn(b.log, "display: client refused", "error", "too many clients", "limit", b.max)
	}
}

// remember has Close close a connection; false: the broker is closed.
func (b *Broker) remember(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		c.Close()
		return false
	}
	b.clients[c] = struct{}{}
	return true
}

func (b *Broker) forget(c net.Conn) {
	c.Close()
	b.mu.Lock()
	delete(b.clients, c)
	b.mu.Unlock()
}

// serve is the life of one client.
func (b *Broker) serve(conn *net.UnixConn) {
	conn.SetDeadline(time.Now().Add(b.timeout))
	setup, err := x11.ReadSetup(conn)
	if err == nil {
		err = b.check(setup)
	}
	if err != nil {
		if !errors.Is(err, io.EOF) { // a look whether somebody listens
			b.refuse(conn, setup.Order, err)
		}
		return
	}
	server, answer, done, err := b.connect(setup)
	if err != nil {
		b.refuse(conn, setup.Order, err)
		return
	}
	defer done()
	defer b.forget(server)
	conn.SetDeadline(time.Now().Add(b.timeout))
	if _, err := conn.Write(answer); err != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	b.relay(conn, server)
}

// refuse tells a client, as an X server would, that it is not let in. The client
// learns of the host what a refusal says, the log learns all.
func (b *Broker) refuse(conn net.Conn, order x11.Order, err error) {
	if b.ctx.Err() != nil {
		return
	}
	b.quiet.warn(b.log, "display: client refused", "error", err)
	reason := "the display is not available"
	var r *refusal
	if errors.As(err, &r) {
		reason = r.reason
	}
	if order == (x11.Order{}) {
		return // it was no X client
	}
	conn.SetDeadline(time.Now().Add(b.timeout))
	conn.Write(x11.EncodeFailed(order, "hutch: "+reason+"\n"))
}

// check says whether a client may in: it must show the container's cookie, and
// speak the one version of the protocol that there is.
func (b *Broker) check(s x11.Setup) error {
	if s.Major != 11 {
		return &refusal{"protocol version mismatch", fmt.Errorf("a client speaks version %d of the protocol", s.Major)}
	}
	if s.Auth.Name != xauth.Cookie || subtle.ConstantTimeCompare(s.Auth.Data, b.cookie) != 1 {
		return &refusal{"wrong or no cookie; is XAUTHORITY set?", errors.New("wrong or no cookie")}
	}
	return nil
}

// A refusal is an error with the part of it that a container may read.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// quiet keeps a container from filling the log: at most one warning a second.
type quiet struct {
	mu      sync.Mutex
	last    time.Time
	omitted int
}

func (q *quiet) warn(log *slog.Logger, message string, arguments ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); now.Sub(q.last) < time.Second {
		q.omitted++
		return
	} else {
		q.last = now
	}
	if q.omitted > 0 {
		arguments = append(arguments, "omitted", q.omitted)
		q.omitted = 0
	}
	log.Warn(message, arguments...)
}
