package control

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

func pair(t testing.TB) (ours, theirs *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return ends[0], ends[1]
}

func framed(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestMessages(t *testing.T) {
	a, b := pair(t)
	from, to := NewConn(a, MaxAnswer), NewConn(b, MaxRequest)
	long := strings.Repeat("long ", 100_000)
	go func() {
		from.Write(Exec{Args: []string{"echo", long}}, os.Stdin, os.Stdout)
		from.Write(Exec{User: "mara"})
		a.Close()
	}()
	var e Exec
	files, err := to.Read(&e)
	if err != nil || len(files) != 2 || e.Args[1] != long {
		t.Fatalf("%d files, %v, %.40q", len(files), err, e.Args)
	}
	sys.CloseAll(files)
	e = Exec{}
	if files, err := to.Read(&e); err != nil || len(files) != 0 || e.User != "mara" {
		t.Errorf("%d files, %v, %+v", len(files), err, e)
	}
	if _, err := to.Read(&e); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestHostileFrames(t *testing.T) {
	for name, c := range map[string]struct {
		sent  []byte
		fds   int
		wants string
	}{
		"too long":             {[]byte{0xff, 0xff, 0xff, 0xff}, 0, "at most"},
		"one byte too long":    {binary.BigEndian.AppendUint32(nil, MaxAnswer+1), 0, "at most"},
		"cut in the length":    {[]byte{0, 0}, 0, "unexpected EOF"},
		"cut in the body":      {framed(`{"started":true}`)[:9], 0, "unexpected EOF"},
		"no JSON":              {framed("\x1b]0;x\x07"), 0, "not what it should be"},
		"another type":         {framed(`{"exited":7}`), 0, "not what it should be"},
		"empty":                {framed(""), 0, "not what it should be"},
		"very deep":            {framed(strings.Repeat("[", 60_000)), 0, "not what it should be"},
		"too many descriptors": {framed(`{"started":true}`), sys.MaxFDs + 1, "descriptors"},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			var rights []byte
			if c.fds > 0 {
				fds := make([]int, c.fds)
				rights = unix.UnixRights(fds...) // of descriptor 0
			}
			if _, _, err := a.WriteMsgUnix(c.sent, rights, nil); err != nil {
				t.Fatal(err)
			}
			a.Close()
			open := descriptors(t)
			var e Event
			files, err := NewConn(b, MaxAnswer).Read(&e)
			if err == nil || !strings.Contains(err.Error(), c.wants) || len(files) > 0 {
				t.Errorf("%d files, %v; want %q", len(files), err, c.wants)
			}
			if left := descriptors(t); left > open {
				t.Errorf("%d descriptors are open, %d were", left, open)
			}
		})
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A frame that never ends is bounded by the deadline, not by each byte.
func TestDrip(t *testing.T) {
	a, b := pair(t)
	go func() {
		a.Write([]byte{0, 0, 0xff, 0xff})
		for {
			if _, err := a.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	c := NewConn(b, MaxAnswer)
	if err := c.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var e Event
	if _, err := c.Read(&e); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		e    Exited
		want int
	}{{Exited{Code: 3}, 3}, {Exited{Code: 256}, 0}, {Exited{Code: -1}, 255}, {Exited{Signal: 9}, 137}, {Exited{Signal: -7}, 128 + -7&127}} {
		if got := c.e.Status(); got != c.want || got < 0 || got > 255 {
			t.Errorf("%+v: %d, want %d", c.e, got, c.want)
		}
	}
}

func TestCheckPty(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := CheckPty(master); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/dev/null", "/", "/etc/passwd", "/dev/zero"} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if CheckPty(f) == nil {
			t.Errorf("%s passes for a pty", path)
		}
		f.Close()
	}
}

func FuzzFrame(f *testing.F) {
	for _, seed := range [][]byte{
		framed(`{"protocol":1}`), framed(`{"exited":{"code":1}}`), framed(`{"failed":{"status":125,"message":"\u001b"}}`),
		append(framed(`{"started":true}`), framed(`{}`)...), {0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}, {0, 1},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b := pair(t)
		go func() {
			a.Write(data)
			a.Close()
		}()
		c := NewConn(b, 1<<10)
		rest := bytes.Clone(data)
		for {
			var e Event
			files, err := c.Read(&e)
			sys.CloseAll(files)
			if err != nil {
				return
			}
			if len(rest) < 4 {
				t.Fatalf("a message out of %q", rest)
			}
			n := int(binary.BigEndian.Uint32(rest))
			if n > 1<<10 || len(rest) < 4+n {
				t.Fatalf("a message of %d bytes out of %d", n, len(rest))
			}
			rest = rest[4+n:]
		}
	})
}
