package display_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/desktop/display"
	"github.com/hutch-project/hutch/internal/desktop/x11"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
)

// A rawClient speaks X11 by hand, to send and receive descriptors.
type rawClient struct {
	t      *testing.T
	conn   *net.UnixConn
	screen x11.Screen
	base   uint32 // of its resource ids
}

func newRawClient(t *testing.T, b *display.Broker) *rawClient {
	t.Helper()
	conn := dialBroker(t, b)
	answer, err := x11.Connect(conn, x11.Setup{Order: x11.Little, Major: 11, Auth: cookie(t, b)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := x11.ParseReply(answer, x11.Little)
	if err != nil {
		t.Fatal(err)
	}
	return &rawClient{t, conn, s.Screens[0], binary.LittleEndian.Uint32(answer[12:])}
}

func words(opcode, data byte, rest ...uint32) []byte {
	out := []byte{opcode, data, byte(1 + len(rest)), 0}
	for _, w := range rest {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}

// answer reads a reply of 32 bytes with the descriptors that came with it.
func (r *rawClient) answer() ([]byte, []*os.File) {
	r.t.Helper()
	head := make([]byte, 32)
	n, files, err := sys.Receive(r.conn, head)
	if err == nil && n < len(head) {
		_, err = io.ReadFull(r.conn, head[n:])
	}
	if err != nil || head[0] != 1 {
		r.t.Fatalf("answer %x, %v", head, err)
	}
	return head, files
}

// fill paints the upper left part of the root.
func (r *rawClient) fill(width, height uint16, colour uint32) []byte {
	gc := r.base + 3
	return append(words(55, 0, gc, r.screen.Root, 4, colour), // CreateGC, foreground
		words(70, 0, r.screen.Root, gc, 0, uint32(width)|uint32(height)<<16)...) // PolyFillRectangle
}

// The server's memory comes to the client, and the client's to the server, with
// the MIT-SHM extension.
func TestDescriptorsPass(t *testing.T) {
	x := testenv.NewXServer(t)
	r := newRawClient(t, serve(t, of(x), display.Options{Level: display.Trusted}))
	request := words(98, 0, 7) // QueryExtension
	request = append(request, "MIT-SHM\x00"...)
	request[2] = 4
	if err := sys.Send(r.conn, request); err != nil {
		t.Fatal(err)
	}
	head, _ := r.answer()
	shm := head[9]
	if head[8] == 0 {
		t.Fatal("no MIT-SHM")
	}
	const width, height = 64, 64
	const size = 4 * width * height
	// To the client: ShmCreateSegment.
	if err := sys.Send(r.conn, words(shm, 7, r.base+1, size, 0)); err != nil {
		t.Fatal(err)
	}
	_, files := r.answer()
	if len(files) != 1 {
		t.Fatalf("%d descriptors came, want 1", len(files))
	}
	// To the server: ShmAttachFd.
	memory, err := unix.MemfdCreate("segment", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	own := os.NewFile(uintptr(memory), "segment")
	if err := own.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := sys.Send(r.conn, words(shm, 6, r.base+2, 0), own); err != nil {
		t.Fatal(err)
	}
	// Something to see, in the pixels' own words: a colour on the root.
	draw := r.fill(width, height, 0x123456)
	get := func(segment uint32) []byte {
		return words(shm, 4, r.screen.Root, 0, width|height<<16, 0xFFFFFFFF, 2, segment, 0)
	} // ShmGetImage
	if err := sys.Send(r.conn, append(append(draw, get(r.base+1)...), get(r.base+2)...)); err != nil {
		t.Fatal(err)
	}
	r.answer()
	r.answer()
	want := []byte{0x56, 0x34, 0x12}
	for i, f := range []*os.File{files[0], own} {
		picture, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		for p := 0; p < size; p += 4 {
			if !bytes.Equal(picture[p:p+3], want) {
				t.Fatalf("segment %d: pixel %d is %x, want %x", i, p/4, picture[p:p+3], want)
			}
		}
		syscall.Munmap(picture)
		f.Close()
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Descriptors that have no use, or are too many, end the client that sends them,
// and are not kept.
func TestDescriptorsRefused(t *testing.T) {
	x := testenv.NewXServer(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for level, count := range map[display.Level]int{display.Untrusted: 1, display.Trusted: 200} {
		b := serve(t, of(x), display.Options{Level: level})
		witness := mustConnect(t, b)
		before := openDescriptors(t)
		r := newRawClient(t, b)
		fds := make([]int, count)
		for i := range fds {
			fds[i] = int(null.Fd())
		}
		if _, _, err := r.conn.WriteMsgUnix(words(127, 0), unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
		if said, err := io.ReadAll(r.conn); err != nil && !isReset(err) || len(said) > 0 {
			t.Errorf("%s: the server said %q, %v", level, said, err)
		}
		r.conn.Close()
		for deadline := time.Now().Add(patience); openDescriptors(t) > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d descriptors are open, %d were before", level, openDescriptors(t), before)
			}
		}
		if err := witness.Sync(patience); err != nil {
			t.Errorf("%s: the other client: %v", level, err)
		}
	}
}

func isReset(err error) bool { return errors.Is(err, unix.ECONNRESET) }

// A server that does not read leaves the broker with a bounded number of
// descriptors, whatever the clients send.
func TestDescriptorsBounded(t *testing.T) {
	x := testenv.NewXServer(t)
	b := serve(t, of(x), display.Options{Level: display.Trusted})
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fds := make([]int, 100)
	for i := range fds {
		fds[i] = int(null.Fd())
	}
	var clients []*rawClient
	for range 20 {
		clients = append(clients, newRawClient(t, b))
	}
	before := openDescriptors(t)
	if err := syscall.Kill(x.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(x.PID(), syscall.SIGCONT)
	payload := bytes.Repeat(words(127, 0), 1<<13)
	for range 40 {
		for _, c := range clients {
			c.conn.SetWriteDeadline(time.Now().Add(5 * time.Millisecond))
			c.conn.WriteMsgUnix(payload, unix.UnixRights(fds...), nil) // it fails where the way is full: right
		}
	}
	// Each of the 20 now holds 100 or has been ended for asking too much.
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		held := openDescriptors(t) - before
		if held <= 512 {
			t.Logf("%d descriptors are held", held)
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker holds %d descriptors", held)
		}
	}
}
