package testenv

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An XServer is an Xvfb of the test's own.
type XServer struct {
	Number    int
	Path      string // its socket; not there where it listens on the abstract name only
	Authority string // file with its cookie
	Cookie    []byte

	t         testing.TB
	arguments []string
	cmd       *exec.Cmd
	ended     chan struct{}
	log       string
}

// An XOption changes how an XServer is started.
type XOption func(*XServer)

// WithoutSecurity leaves the SECURITY extension out, as Debian's Xwayland does.
func WithoutSecurity() XOption { return xArguments("-extension", "SECURITY") }

// AbstractOnly has the server listen on its abstract socket, as SDDM starts it.
func AbstractOnly() XOption { return xArguments("-nolisten", "unix") }

// PathnameOnly has the server listen on its socket in the file system.
func PathnameOnly() XOption { return xArguments("-nolisten", "local") }

// WithoutAccessControl lets everybody in, as `xhost +` does.
func WithoutAccessControl() XOption { return xArguments("-ac") }

// WithSwappedClients serves clients of the other byte order, which servers of 2023
// and later do when asked only.
func WithSwappedClients() XOption {
	const option = "+byteswappedclients"
	help, _ := exec.Command("Xvfb", "-help").CombinedOutput() // its exit status is 1 or 0, by version
	if !strings.Contains(string(help), "byteswappedclients") {
		return xArguments()
	}
	return xArguments(option)
}

func xArguments(more ...string) XOption {
	return func(x *XServer) { x.arguments = append(x.arguments, more...) }
}

// WithScreen sets the width and the height of the screen, in pixels; it is
// 640x480 else.
func WithScreen(width, height int) XOption {
	return xArguments("-screen", "0", fmt.Sprintf("%dx%dx24", width, height))
}

// NewXServer starts an X server, with a cookie of its own, that ends with the
// test.
func NewXServer(t testing.TB, options ...XOption) *XServer {
	t.Helper()
	RequireTools(t, "Xvfb")
	x, err := OpenXServer(t.TempDir(), options...)
	if err != nil {
		t.Fatal(err)
	}
	x.t = t
	t.Cleanup(x.Stop)
	return x
}

// OpenXServer starts an X server, with its cookie and its log in a folder, that
// runs until Stop.
func OpenXServer(dir string, options ...XOption) (*XServer, error) {
	x := &XServer{Authority: filepath.Join(dir, "server.auth"), Cookie: make([]byte, 16), log: filepath.Join(dir, "server.log")}
	rand.Read(x.Cookie)
	for _, o := range options {
		o(x)
	}
	var failure error
	for range 20 {
		// Numbers far from those of real sessions, taken under the server's own lock;
		// -displayfd alone looks for a free one without a lock.
		x.Number = 1000 + mathrand.IntN(50000)
		x.Path = fmt.Sprintf("/tmp/.X11-unix/X%d", x.Number)
		if err := os.WriteFile(x.Authority, x.record(), 0o600); err != nil {
			return nil, err
		}
		if failure = x.start(); failure == nil {
			return x, nil
		}
	}
	return nil, fmt.Errorf("no X server: %w", failure)
}

// record is a wild one of Xauthority's format; that the product reads and writes
// it is tested elsewhere.
func (x *XServer) record() []byte {
	out := []byte{0xFF, 0xFF, 0, 0}
	for _, field := range []string{strconv.Itoa(x.Number), "MIT-MAGIC-COOKIE-1", string(x.Cookie)} {
		out = binary.BigEndian.AppendUint16(out, uint16(len(field)))
		out = append(out, field...)
	}
	return out
}

func (x *XServer) start() error {
	ready, fd, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	log, err := os.Create(x.log)
	if err != nil {
		fd.Close()
		return err
	}
	defer log.Close()
	x.cmd = exec.Command("Xvfb", append([]string{":" + strconv.Itoa(x.Number), "-displayfd", "3", "-auth", x.Authority,
		"-noreset", "-screen", "0", "640x480x24", "-nolisten", "tcp"}, x.arguments...)...)
	x.cmd.ExtraFiles = []*os.File{fd}
	x.cmd.Stdout, x.cmd.Stderr = log, log
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C at the test is not for it
	err = x.cmd.Start()
	fd.Close()
	if err != nil {
		return err
	}
	cmd, ended := x.cmd, make(chan struct{})
	x.ended = ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	ready.SetReadDeadline(time.Now().Add(30 * time.Second))
	if line, err := bufio.NewReader(ready).ReadString('\n'); err != nil || strings.TrimSpace(line) != strconv.Itoa(x.Number) {
		x.Stop()
		said, _ := os.ReadFile(x.log)
		return fmt.Errorf("the X server Xvfb :%d said %q (%v): %s", x.Number, line, err, said)
	}
	return nil
}

// Stop ends the server; a second call does nothing.
func (x *XServer) Stop() {
	x.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-x.ended:
	case <-time.After(10 * time.Second):
		x.cmd.Process.Kill()
		<-x.ended
	}
}

// PID is the process id of the server.
func (x *XServer) PID() int { return x.cmd.Process.Pid }

// Restart ends the server and starts one with the same number and, given more
// options, other arguments. It knows none of the cookies that the first one made.
func (x *XServer) Restart(options ...XOption) {
	x.t.Helper()
	x.Stop()
	for _, o := range options {
		o(x)
	}
	if err := x.start(); err != nil {
		x.t.Fatal(err)
	}
}

// NewCookie replaces the cookie in the file; the server takes it over when it
// starts the next time.
func (x *XServer) NewCookie() {
	x.t.Helper()
	rand.Read(x.Cookie)
	if err := os.WriteFile(x.Authority, x.record(), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

// Environ is the environment of the person's own programs on this server.
func (x *XServer) Environ() []string {
	return append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DISPLAY=") || strings.HasPrefix(v, "XAUTHORITY=")
	}), fmt.Sprintf("DISPLAY=:%d", x.Number), "XAUTHORITY="+x.Authority)
}

// ForwardTCP makes the server reachable on a TCP port of the loopback interface,
// as sshd does, and returns the display number that belongs to the port.
func (x *XServer) ForwardTCP() int {
	x.t.Helper()
	var l net.Listener
	number := 0
	for range 50 {
		number = 1000 + mathrand.IntN(20000)
		var err error
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 6000+number)); err == nil {
			break
		}
	}
	if l == nil {
		x.t.Fatal("no free TCP port for a display")
	}
	x.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", x.Path)
			if err != nil {
				near.Close()
				continue
			}
			Join(near, far)
		}
	}()
	return number
}

// Join passes bytes between two connections until either ends, and then ends the
// other.
func Join(near, far net.Conn) {
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		go func() {
			io.Copy(way[0], way[1])
			near.Close()
			far.Close()
		}()
	}
}

// XClient returns a program that is to meet a display broker the way one in a
// container does: a mount namespace in which /tmp/.X11-unix is the broker's
// folder, a network namespace without the host's abstract names, the given user.
// DISPLAY is :0. It is not started.
func XClient(t testing.TB, folder string, uid uint32, program string, arguments ...string) *exec.Cmd {
	t.Helper()
	RequireRoot(t)
	RequireTools(t, "unshare", "setpriv", program)
	const script = `set -e
mount --make-rprivate /
mkdir -p /tmp/.X11-unix
mount --bind "$1" /tmp/.X11-unix
mount -o remount,bind,ro /tmp/.X11-unix
user=$2; shift 2
exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "--net", "sh", "-c", script, "sh", folder, fmt.Sprint(uid), program}, arguments...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LC_ALL=C", "DISPLAY=:0", "XAUTHORITY=/tmp/.X11-unix/Xauthority"}
	cmd.Dir = "/"
	cmd.WaitDelay = 10 * time.Second
	return cmd
}
