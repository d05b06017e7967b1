package display_test

import (
	"bytes"
	"context"
	"fmt"
	"image/color"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/display"
	"github.com/hutch-project/hutch/internal/desktop/x11"
	"github.com/hutch-project/hutch/internal/desktop/xauth"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
)

// patience bounds what a test waits for; it is no expectation.
const patience = 30 * time.Second

const person = 4321

// TestMain is, in a process of its own, the server of another user that waits for
// a cookie.
func TestMain(m *testing.M) {
	if path := os.Getenv("HUTCH_TEST_TRAP"); path != "" {
		l, err := net.Listen("unix", path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("ready")
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		got, _ := io.ReadAll(c)
		fmt.Printf("got %q\n", got)
		return
	}
	os.Exit(m.Run())
}

// of returns the display that a test's server is.
func of(x *testenv.XServer) desktop.Display {
	return desktop.Display{
		Address:       desktop.Address{Network: desktop.Unix, Path: x.Path},
		Number:        x.Number,
		AuthorityFile: x.Authority,
	}
}

// folder returns one that other users can reach.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hutch-display-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "x11")
}

// serve runs a broker until the test ends.
func serve(t testing.TB, d desktop.Display, o display.Options) *display.Broker {
	t.Helper()
	testenv.RequireRoot(t)
	o.UID, o.GID = person, person
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	b, err := display.New(folder(t), o)
	if err != nil {
		t.Fatal(err)
	}
	b.SetUpstream(d)
	served := make(chan error, 1)
	go func() { served <- b.Serve(context.Background()) }()
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return b
}

// inside runs a program as the container's user does.
func inside(t testing.TB, b *display.Broker, program string, arguments ...string) (string, error) {
	t.Helper()
	out, err := testenv.XClient(t, filepath.Dir(b.Socket()), person, program, arguments...).CombinedOutput()
	return string(out), err
}

func cookie(t testing.TB, b *display.Broker) x11.Auth {
	t.Helper()
	file, err := os.ReadFile(b.AuthorityFile())
	if err != nil {
		t.Fatal(err)
	}
	records, err := xauth.Parse(file)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	return x11.Auth{Name: records[0].Name, Data: records[0].Data}
}

func dialBroker(t testing.TB, b *display.Broker) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", b.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.UnixConn)
}

func connect(t testing.TB, b *display.Broker) (*x11.Client, error) {
	t.Helper()
	c, err := x11.NewClient(dialBroker(t, b), cookie(t, b))
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func mustConnect(t testing.TB, b *display.Broker) *x11.Client {
	t.Helper()
	c, err := connect(t, b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantRefused(t testing.TB, err error, reason string) {
	t.Helper()
	refused, is := err.(*x11.RefusedError)
	if !is || !strings.Contains(refused.Reason, reason) {
		t.Errorf("error %v; want a refusal that says %q", err, reason)
	}
}

// trusted says whether a client has the person's rights: only then may it read
// what others have on the screen, and sees the extension that tells them apart.
func trusted(t testing.TB, c *x11.Client) bool {
	t.Helper()
	_, pictureErr := c.RootImage(c.Server.Screens[0], patience)
	_, security, err := c.QueryExtension("SECURITY", patience)
	if err != nil {
		t.Fatal(err)
	}
	if security != (pictureErr == nil) {
		t.Fatalf("extension seen: %v; picture of the root: %v", security, pictureErr)
	}
	return security
}

func TestProgramsRun(t *testing.T) {
	for name, options := range map[string][]testenv.XOption{
		"both sockets": nil, "abstract only": {testenv.AbstractOnly()}, "pathname only": {testenv.PathnameOnly()},
	} {
		t.Run(name, func(t *testing.T) {
			x := testenv.NewXServer(t, options...)
			f := desktop.Gather(t.Context(), 0, func(key string) string {
				return map[string]string{"DISPLAY": fmt.Sprintf(":%d.0", x.Number), "XAUTHORITY": x.Authority}[key]
			})
			d, trace, err := desktop.Decide(f)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(trace)
			if d.AuthorityFile != x.Authority {
				t.Fatalf("authority file %q, want %q", d.AuthorityFile, x.Authority)
			}
			tries(t, serve(t, d, display.Options{}))
		})
	}
}

func TestForwardedDisplay(t *testing.T) {
	x := testenv.NewXServer(t)
	d := of(x)
	d.Address = desktop.Address{Network: desktop.TCP, Path: fmt.Sprintf("localhost:%d", 6000+x.ForwardTCP())}
	tries(t, serve(t, d, display.Options{}))
}

// tries has real programs use the broker.
func tries(t *testing.T, b *display.Broker) {
	testenv.RequireTools(t, "xdpyinfo", "xwd", "xprop")
	out, err := inside(t, b, "xdpyinfo")
	if err != nil {
		t.Fatalf("xdpyinfo: %v: %s", err, out)
	}
	for _, name := range []string{"BIG-REQUESTS", "XC-MISC"} {
		if !strings.Contains(out, name) {
			t.Errorf("the extension %s is not there", name)
		}
	}
	for _, name := range []string{"SECURITY", "XTEST", "RECORD", "MIT-SHM", "XInputExtension"} {
		if strings.Contains(out, name) {
			t.Errorf("the extension %s is within reach", name)
		}
	}
	if out, err := inside(t, b, "xwd", "-root", "-silent", "-out", "/dev/null"); err == nil {
		t.Errorf("xwd has a picture of the screen: %s", out)
	}
	if out, err := inside(t, b, "xprop", "-root"); err != nil {
		t.Errorf("xprop: %v: %s", err, out)
	}
}

// A program draws on the person's screen.
func TestWindowIsSeen(t *testing.T) {
	testenv.RequireTools(t, "xlogo")
	x := testenv.NewXServer(t)
	b := serve(t, of(x), display.Options{})
	me := client(t, x, x11.Auth{Name: xauth.Cookie, Data: x.Cookie})
	before, err := me.RootImage(me.Server.Screens[0], patience)
	if err != nil {
		t.Fatal(err)
	}
	logo := testenv.XClient(t, filepath.Dir(b.Socket()), person, "xlogo", "-geometry", "640x480+0+0")
	if err := logo.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		logo.Process.Kill()
		logo.Wait()
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		after, err := me.RootImage(me.Server.Screens[0], patience)
		if err != nil {
			t.Fatal(err)
		}
		if changed := !bytes.Equal(before, after); changed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing was drawn")
		}
	}
}

// client connects to a server without a broker.
func client(t testing.TB, x *testenv.XServer, auth x11.Auth) *x11.Client {
	t.Helper()
	c, err := tryClient(t, x, auth)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryClient(t testing.TB, x *testenv.XServer, auth x11.Auth) (*x11.Client, error) {
	t.Helper()
	conn, err := net.Dial("unix", x.Path)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(patience))
	c, err := x11.NewClient(conn, auth)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func TestLevels(t *testing.T) {
	x := testenv.NewXServer(t)
	if c := mustConnect(t, serve(t, of(x), display.Options{})); trusted(t, c) {
		t.Error("the default is trusted")
	}
	if c := mustConnect(t, serve(t, of(x), display.Options{Level: display.Trusted})); !trusted(t, c) {
		t.Error("trusted is not")
	}
	if _, err := display.New(folder(t), display.Options{Level: "any"}); err == nil {
		t.Error("an unknown level was taken")
	}
}

func TestServerWithoutSecurity(t *testing.T) {
	x := testenv.NewXServer(t, testenv.WithoutSecurity())
	var log lockedBuffer
	b := serve(t, of(x), display.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	_, err := connect(t, b)
	wantRefused(t, err, `display = "trusted"`)
	if !strings.Contains(log.String(), "no SECURITY extension") {
		t.Errorf("the log says: %s", log.String())
	}
	b = serve(t, of(x), display.Options{Level: display.Trusted})
	if _, err := mustConnect(t, b).RootImage(x11.Screen{Root: mustConnect(t, b).Server.Screens[0].Root, Width: 1, Height: 1}, patience); err != nil {
		t.Errorf("trusted: %v", err)
	}
}

func TestProbe(t *testing.T) {
	for want, options := range map[bool][]testenv.XOption{true: nil, false: {testenv.WithoutSecurity()}} {
		x := testenv.NewXServer(t, options...)
		s, err := display.Probe(t.Context(), of(x))
		if err != nil || s.Security != want || s.Vendor == "" || s.Release == 0 || len(s.Screens) != 1 || s.Screens[0].Width != 640 {
			t.Errorf("probe: %+v, %v; want SECURITY %v", s, err, want)
		}
		d := of(x)
		d.AuthorityFile = ""
		if _, err := display.Probe(t.Context(), d); err == nil {
			t.Error("a server was probed without its cookie")
		}
		x.Stop()
		if _, err := display.Probe(t.Context(), of(x)); err == nil {
			t.Error("a server was probed that has ended")
		}
	}
}

func TestScreenshot(t *testing.T) {
	x := testenv.NewXServer(t)
	r := newRawClient(t, serve(t, of(x), display.Options{Level: display.Trusted}))
	if err := sys.Send(r.conn, append(r.fill(r.screen.Width, r.screen.Height, 0x123456), words(43, 0)...)); err != nil { // GetInputFocus
		t.Fatal(err)
	}
	r.answer()
	picture, err := display.Screenshot(t.Context(), of(x))
	if err != nil {
		t.Fatal(err)
	}
	if size := picture.Bounds().Size(); size.X != 640 || size.Y != 480 {
		t.Errorf("the picture has %v pixels", size)
	}
	if got, want := picture.At(320, 240), (color.RGBA{0x12, 0x34, 0x56, 0xFF}); got != want {
		t.Errorf("the picture is %v, want %v", got, want)
	}
}

func TestWrongCookie(t *testing.T) {
	x := testenv.NewXServer(t)
	b := serve(t, of(x), display.Options{})
	right := cookie(t, b)
	if bytes.Equal(right.Data, x.Cookie) {
		t.Fatal("the container has the person's cookie")
	}
	wrong := bytes.Clone(right.Data)
	wrong[15] ^= 1
	for name, auth := range map[string]x11.Auth{
		"none": {}, "wrong": {Name: right.Name, Data: wrong}, "short": {Name: right.Name, Data: right.Data[:15]},
		"the person's": {Name: right.Name, Data: x.Cookie}, "other protocol": {Name: "XDM-AUTHORIZATION-1", Data: right.Data},
	} {
		for _, order := range []x11.Order{x11.Little, x11.Big} {
			conn := dialBroker(t, b)
			_, err := x11.Connect(conn, x11.Setup{Order: order, Major: 11, Auth: auth})
			if refused, is := err.(*x11.RefusedError); !is || !strings.Contains(refused.Reason, "cookie") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	conn := dialBroker(t, b)
	_, err := x11.Connect(conn, x11.Setup{Order: x11.Little, Major: 11, Auth: x11.Auth{Name: "x", Data: make([]byte, x11.MaxAuth+1)}})
	wantRefused(t, err, "not available")
	conn = dialBroker(t, b)
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	if said, _ := io.ReadAll(conn); len(said) > 0 {
		t.Errorf("to HTTP it says %q", said)
	}
	mustConnect(t, b)
}

// Clients of the other byte order are let in, and told in it.
func TestByteOrder(t *testing.T) {
	x := testenv.NewXServer(t, testenv.WithSwappedClients())
	b := serve(t, of(x), display.Options{})
	for _, order := range []x11.Order{x11.Little, x11.Big} {
		answer, err := x11.Connect(dialBroker(t, b), x11.Setup{Order: order, Major: 11, Auth: cookie(t, b)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := x11.ParseReply(answer, order)
		if err != nil || len(s.Screens) != 1 || s.Screens[0].Width != 640 {
			t.Errorf("order %v: %+v, %v", order, s, err)
		}
	}
}

func TestRestart(t *testing.T) {
	for _, level := range []display.Level{display.Untrusted, display.Trusted} {
		t.Run(string(level), func(t *testing.T) {
			x := testenv.NewXServer(t)
			b := serve(t, of(x), display.Options{Level: level})
			old := mustConnect(t, b)
			for range 2 {
				x.Stop()
				<-old.Gone()
				_, err := connect(t, b)
				wantRefused(t, err, "not reachable")
				x.NewCookie()
				x.Restart()
				old = mustConnect(t, b)
				if got := trusted(t, old); got != (level == display.Trusted) {
					t.Errorf("after the restart the client is trusted: %v", got)
				}
				// And one that nobody notices before the next program comes.
				x.NewCookie()
				x.Restart()
				old = mustConnect(t, b)
			}
		})
	}
}

// A server that lets everybody in trusts whoever comes with a cookie it does not
// know. A cookie of the server before it must not open that door.
func TestRestartWithoutAccessControl(t *testing.T) {
	x := testenv.NewXServer(t, testenv.WithoutAccessControl())
	b := serve(t, of(x), display.Options{})
	for range 5 {
		if trusted(t, mustConnect(t, b)) {
			t.Fatal("the client is trusted")
		}
		x.Restart()
	}
}

// The same, in the moment that counts: the server is replaced after the broker has
// looked whether its authorization holds, and before the client's own connection.
func TestReplacedBetweenCookieAndClient(t *testing.T) {
	first := testenv.NewXServer(t)
	second := testenv.NewXServer(t, testenv.WithoutAccessControl())
	if c, err := tryClient(t, second, x11.Auth{Name: xauth.Cookie, Data: make([]byte, 16)}); err != nil || !trusted(t, c) {
		t.Fatalf("the second server does not trust everybody: %v", err)
	}
	// A door that leads to the first server for the control connection; with the
	// next connection that server ends, and the door leads to the second.
	door, err := net.Listen("unix", filepath.Join(t.TempDir(), "door"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { door.Close() })
	go func() {
		for n := 0; ; n++ {
			near, err := door.Accept()
			if err != nil {
				return
			}
			path := first.Path
			if n > 0 {
				path = second.Path
			}
			if n == 1 {
				first.Stop()
			}
			far, err := net.Dial("unix", path)
			if err != nil {
				near.Close()
				continue
			}
			testenv.Join(near, far)
		}
	}()
	d := of(first)
	d.Address.Path = door.Addr().String()
	if trusted(t, mustConnect(t, serve(t, d, display.Options{}))) {
		t.Error("the client is trusted")
	}
}

func TestRevokedAtClose(t *testing.T) {
	x := testenv.NewXServer(t)
	// The cookie that the broker is given is seen by a tap on its way.
	tap := newTap(t, x.Path)
	d := of(x)
	d.Address.Path = tap.path
	b := serve(t, d, display.Options{})
	c := mustConnect(t, b)
	secrets := tap.cookies(t)
	if len(secrets) != 2 || !bytes.Equal(secrets[0], x.Cookie) {
		t.Fatalf("the tap saw %x; want the person's cookie and another", secrets)
	}
	own := x11.Auth{Name: xauth.Cookie, Data: secrets[1]}
	client(t, x, own)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	<-c.Gone()
	if _, err := tryClient(t, x, own); err == nil {
		t.Error("the cookie is good after Close")
	}
	if _, err := os.Stat(b.AuthorityFile()); err == nil {
		t.Error("the cookie file is there after Close")
	}
	if _, err := os.Stat(b.Socket()); err == nil {
		t.Error("the socket is there after Close")
	}
}

// What a client can say wrong makes the server no new cookies.
func TestCookiesAreFew(t *testing.T) {
	x := testenv.NewXServer(t)
	tap := newTap(t, x.Path)
	d := of(x)
	d.Address.Path = tap.path
	b := serve(t, d, display.Options{})
	mustConnect(t, b)
	for range 10 {
		for _, s := range []x11.Setup{{Order: x11.Little, Major: 99}, {Order: x11.Big, Major: 11}, {Order: x11.Little, Major: 11, Minor: 99}} {
			s.Auth = cookie(t, b)
			x11.Connect(dialBroker(t, b), s) // let in or not
		}
	}
	mustConnect(t, b)
	different := map[string]bool{}
	asPerson := 0
	for _, c := range tap.cookies(t) {
		different[string(c)] = true
		if bytes.Equal(c, x.Cookie) {
			asPerson++
		}
	}
	if len(different) != 2 || asPerson != 1 {
		t.Errorf("%d cookies were shown, %d times the person's; want 2 and 1", len(different), asPerson)
	}
}

func TestSetUpstream(t *testing.T) {
	testenv.RequireTools(t, "xdpyinfo")
	one, two := testenv.NewXServer(t), testenv.NewXServer(t)
	b := serve(t, desktop.Display{}, display.Options{})
	_, err := connect(t, b)
	wantRefused(t, err, "not reachable")
	b.SetUpstream(of(one))
	onOne := mustConnect(t, b)
	b.SetUpstream(of(two))
	onTwo := mustConnect(t, b)
	if err := onOne.Sync(patience); err != nil {
		t.Errorf("the client of the first display: %v", err)
	}
	one.Stop()
	<-onOne.Gone()
	if err := onTwo.Sync(patience); err != nil {
		t.Errorf("the client of the second display: %v", err)
	}
}

func TestManyClients(t *testing.T) {
	x := testenv.NewXServer(t)
	const many = 200
	b := serve(t, of(x), display.Options{MaxClients: many})
	var all sync.WaitGroup
	errs := make(chan error, many)
	auth := cookie(t, b)
	for range many {
		conn := dialBroker(t, b)
		all.Go(func() {
			c, err := x11.NewClient(conn, auth)
			if err == nil {
				for range 20 {
					if err = c.Sync(patience); err != nil {
						break
					}
				}
			}
			errs <- err
		})
	}
	all.Wait()
	for range many {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	_, err := connect(t, b)
	wantRefused(t, err, "200 connections")
	// Room is made again.
	other := serve(t, of(x), display.Options{MaxClients: 1})
	mustConnect(t, other).Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err = connect(t, other); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// A client that asks without end and never reads stalls itself alone.
func TestStuckClient(t *testing.T) {
	x := testenv.NewXServer(t)
	b := serve(t, of(x), display.Options{Timeout: 2 * time.Second})
	stuck := dialBroker(t, b)
	if _, err := x11.Connect(stuck, x11.Setup{Order: x11.Little, Major: 11, Auth: cookie(t, b)}); err != nil {
		t.Fatal(err)
	}
	// ListExtensions has the longest answer for the shortest question.
	question := bytes.Repeat([]byte{99, 0, 1, 0}, 1<<14)
	stuck.SetDeadline(time.Now().Add(3 * time.Second))
	for sent := 0; sent < 64<<20; { // the server may keep the answers itself
		n, err := stuck.Write(question)
		if sent += n; err != nil {
			break
		}
	}
	silent := dialBroker(t, b) // and one that says nothing
	defer silent.Close()
	for range 3 {
		if err := mustConnect(t, b).Sync(patience); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := io.ReadAll(silent); err != nil || len(said) != 0 {
		t.Errorf("the silent client was told %q, %v", said, err)
	}
}

// A server that hangs costs a client its patience, and holds up no Close.
func TestHangingServer(t *testing.T) {
	for _, level := range []display.Level{display.Untrusted, display.Trusted} {
		x := testenv.NewXServer(t)
		b := serve(t, of(x), display.Options{Level: level, Timeout: time.Second})
		mustConnect(t, b)
		if err := syscall.Kill(x.PID(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		_, err := connect(t, b)
		wantRefused(t, err, "does not answer")
		waiting := dialBroker(t, b)
		if _, err := waiting.Write(x11.Setup{Order: x11.Little, Major: 11, Auth: cookie(t, b)}.Encode()); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- b.Close() }()
		select {
		case <-closed:
		case <-time.After(patience):
			t.Error("Close hangs with the server")
		}
		if err := syscall.Kill(x.PID(), syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFolder(t *testing.T) {
	testenv.RequireRoot(t)
	dir := folder(t)
	old, err := display.New(dir, display.Options{UID: person, GID: person})
	if err != nil {
		t.Fatal(err)
	}
	// The first is left as a crash leaves it.
	b, err := display.New(dir, display.Options{UID: person, GID: person})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	defer b.Close()
	for path, want := range map[string]string{
		dir: "drwxr-xr-x 0", b.Socket(): "Srw------- 4321", b.AuthorityFile(): "-r-------- 4321",
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%v %d", info.Mode(), owner(info)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	out, err := exec.Command("setpriv", "--reuid=4322", "--regid=4321", "--clear-groups", "cat", b.AuthorityFile()).CombinedOutput()
	if err == nil {
		t.Errorf("another user reads the cookie: %q", out)
	}
}

// A server run by another user of the machine does not get to see the person's
// cookie.
func TestForeignServer(t *testing.T) {
	testenv.RequireRoot(t)
	x := testenv.NewXServer(t)
	dir := filepath.Dir(folder(t))
	if err := os.Chown(dir, person+1, person+1); err != nil {
		t.Fatal(err)
	}
	trap := exec.Command("/proc/self/exe")
	trap.Env = []string{"HUTCH_TEST_TRAP=" + filepath.Join(dir, "X9")}
	trap.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: person + 1, Gid: person + 1}}
	trap.Stderr = t.Output()
	out, err := trap.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := trap.Start(); err != nil {
		t.Fatal(err)
	}
	defer trap.Process.Kill()
	ready := make([]byte, 6)
	if _, err := io.ReadFull(out, ready); err != nil {
		t.Fatal(err)
	}
	d := of(x)
	d.Address.Path = filepath.Join(dir, "X9")
	if _, err := display.Probe(t.Context(), d); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("probe: %v", err)
	}
	if said, _ := io.ReadAll(out); string(said) != "got \"\"\n" {
		t.Errorf("the other user's server %s", said)
	}
	trap.Wait()
}
