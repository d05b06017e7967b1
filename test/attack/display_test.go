package attack

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"

	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/display"
	"github.com/hutch-project/hutch/internal/testenv"
)

const person = 4321

// hostile starts a person's X server with a window on it, and a broker with the
// default level; it returns connections of the person and of the container.
func hostile(t *testing.T) (x *testenv.XServer, folder string, me, it *xgb.Conn) {
	t.Helper()
	testenv.RequireRoot(t)
	x = testenv.NewXServer(t)
	dir, err := os.MkdirTemp("", "hutch-attack-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(dir, "x11")
	b, err := display.New(folder, display.Options{UID: person, GID: person})
	if err != nil {
		t.Fatal(err)
	}
	b.SetUpstream(desktop.Display{Address: desktop.Address{Network: desktop.Unix, Path: x.Path}, Number: x.Number, AuthorityFile: x.Authority})
	go b.Serve(context.Background())
	t.Cleanup(func() { b.Close() })
	me = xConnect(t, x.Path, x.Number, x.Authority)
	it = xConnect(t, b.Socket(), 0, b.AuthorityFile())
	return x, folder, me, it
}

// xConnect connects to a socket at any path: the library takes a path with the
// display's number behind it.
func xConnect(t *testing.T, socket string, number int, authority string) *xgb.Conn {
	t.Helper()
	t.Setenv("XAUTHORITY", authority)
	link := filepath.Join(t.TempDir(), fmt.Sprintf("x:%d", number))
	if err := os.Symlink(socket, link); err != nil {
		t.Fatal(err)
	}
	c, err := xgb.NewConnDisplay(link)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// window makes a mapped one with a colour and a property, as the person's own.
func window(t *testing.T, c *xgb.Conn) xproto.Window {
	t.Helper()
	id, err := xproto.NewWindowId(c)
	if err != nil {
		t.Fatal(err)
	}
	root := xproto.Setup(c).DefaultScreen(c).Root
	err = xproto.CreateWindowChecked(c, 0, id, root, 10, 10, 100, 100, 0, xproto.WindowClassInputOutput, 0,
		xproto.CwBackPixel|xproto.CwEventMask,
		[]uint32{0x00ABCDEF, xproto.EventMaskKeyPress | xproto.EventMaskPropertyChange | xproto.EventMaskStructureNotify}).Check()
	if err == nil {
		err = xproto.MapWindowChecked(c, id).Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Threat 42, with the server's SECURITY extension as the defence: each row is a
// thing that the person's own programs can do, and the container's can not.
func TestDisplay(t *testing.T) {
	rows := []struct {
		name   string
		attack func(c *xgb.Conn, root, victim xproto.Window) error
	}{
		{"picture of the screen", func(c *xgb.Conn, root, _ xproto.Window) error {
			_, err := xproto.GetImage(c, xproto.ImageFormatZPixmap, xproto.Drawable(root), 0, 0, 8, 8, 0xFFFFFFFF).Reply()
			return err
		}},
		{"picture of a window", func(c *xgb.Conn, _, victim xproto.Window) error {
			_, err := xproto.GetImage(c, xproto.ImageFormatZPixmap, xproto.Drawable(victim), 0, 0, 8, 8, 0xFFFFFFFF).Reply()
			return err
		}},
		{"copy of the screen", func(c *xgb.Conn, root, _ xproto.Window) error {
			pix, err := xproto.NewPixmapId(c)
			if err != nil {
				return err
			}
			gc, err := xproto.NewGcontextId(c)
			if err != nil {
				return err
			}
			depth := xproto.Setup(c).DefaultScreen(c).RootDepth
			xproto.CreatePixmap(c, depth, pix, xproto.Drawable(root), 8, 8)
			xproto.CreateGC(c, gc, xproto.Drawable(pix), 0, nil)
			return xproto.CopyAreaChecked(c, xproto.Drawable(root), xproto.Drawable(pix), gc, 0, 0, 0, 0, 8, 8).Check()
		}},
		{"drawing on a window", func(c *xgb.Conn, _, victim xproto.Window) error {
			return xproto.ClearAreaChecked(c, false, victim, 0, 0, 8, 8).Check()
		}},
		{"key grab on the root", func(c *xgb.Conn, root, _ xproto.Window) error {
			return xproto.GrabKeyChecked(c, true, root, xproto.ModMaskAny, 38, xproto.GrabModeAsync, xproto.GrabModeAsync).Check()
		}},
		{"button grab on the root", func(c *xgb.Conn, root, _ xproto.Window) error {
			return xproto.GrabButtonChecked(c, true, root, xproto.EventMaskButtonPress, xproto.GrabModeAsync, xproto.GrabModeAsync,
				0, 0, 1, xproto.ModMaskAny).Check()
		}},
		{"forged key", func(c *xgb.Conn, root, victim xproto.Window) error {
			return xproto.SendEventChecked(c, false, victim, xproto.EventMaskKeyPress,
				string(xproto.KeyPressEvent{Detail: 38, Root: root, Event: victim}.Bytes())).Check()
		}},
		{"focus", func(c *xgb.Conn, _, victim xproto.Window) error {
			return xproto.SetInputFocusChecked(c, xproto.InputFocusNone, victim, 0).Check()
		}},
		{"property of a window", func(c *xgb.Conn, _, victim xproto.Window) error {
			return xproto.ChangePropertyChecked(c, xproto.PropModeReplace, victim, xproto.AtomWmName, xproto.AtomString, 8, 4, []byte("evil")).Check()
		}},
		{"keyboard map", func(c *xgb.Conn, _, _ xproto.Window) error {
			return xproto.ChangeKeyboardMappingChecked(c, 1, 38, 1, []xproto.Keysym{0x41}).Check()
		}},
		{"access control", func(c *xgb.Conn, _, _ xproto.Window) error {
			return xproto.SetAccessControlChecked(c, 0).Check()
		}},
		{"moving a window", func(c *xgb.Conn, root, victim xproto.Window) error {
			return xproto.ReparentWindowChecked(c, victim, root, 50, 50).Check()
		}},
		{"destroying a window", func(c *xgb.Conn, _, victim xproto.Window) error {
			return xproto.DestroyWindowChecked(c, victim).Check()
		}},
		{"killing a program", func(c *xgb.Conn, _, victim xproto.Window) error {
			return xproto.KillClientChecked(c, uint32(victim)).Check()
		}},
	}
	_, _, me, it := hostile(t)
	root := xproto.Setup(me).DefaultScreen(me).Root
	victim := window(t, me)
	for _, row := range rows {
		if err := row.attack(it, root, victim); err == nil {
			t.Errorf("%s: done", row.name)
		}
	}
	for event, err := me.PollForEvent(); event != nil || err != nil; event, err = me.PollForEvent() {
		switch event.(type) {
		case xproto.KeyPressEvent, xproto.PropertyNotifyEvent, xproto.DestroyNotifyEvent, xproto.ReparentNotifyEvent:
			t.Errorf("the person's program was told %v", event)
		}
	}
	// The same in the person's own hands works: the rows try what they say.
	for _, row := range rows {
		other := victim
		if strings.HasPrefix(row.name, "destroying") {
			other = window(t, me)
		}
		if strings.HasPrefix(row.name, "killing") {
			continue // whom it would end is the one who asks
		}
		if err := row.attack(me, root, other); err != nil {
			t.Errorf("%s fails for the person, too: %v", row.name, err)
		}
	}
	list, err := xproto.ListExtensions(it).Reply()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Names {
		if e.Name != "BIG-REQUESTS" && e.Name != "XC-MISC" {
			t.Errorf("the extension %s is listed", e.Name)
		}
	}
	for _, name := range []string{"SECURITY", "XTEST", "RECORD", "MIT-SHM", "XInputExtension", "RENDER", "XKEYBOARD", "GLX", "Composite", "X-Resource"} {
		if r, err := xproto.QueryExtension(it, uint16(len(name)), name).Reply(); err != nil || r.Present {
			t.Errorf("the extension %s answers (%v)", name, err)
		}
	}
}

// What the person types into a window is told to nobody else, even to those who
// asked for it, and not to those who ask which keys are down.
func TestDisplayKeys(t *testing.T) {
	_, _, me, it := hostile(t)
	if err := xtest.Init(me); err != nil {
		t.Fatal(err)
	}
	root := xproto.Setup(me).DefaultScreen(me).Root
	victim := window(t, me)
	for _, c := range []*xgb.Conn{me, it} {
		for _, w := range []xproto.Window{root, victim} {
			// The server takes the wish of an untrusted client, and does not fulfil it.
			xproto.ChangeWindowAttributes(c, w, xproto.CwEventMask, []uint32{xproto.EventMaskKeyPress | xproto.EventMaskKeyRelease})
		}
	}
	if _, err := xproto.GetInputFocus(it).Reply(); err != nil {
		t.Fatal(err)
	}
	if err := xproto.SetInputFocusChecked(me, xproto.InputFocusNone, victim, 0).Check(); err != nil {
		t.Fatal(err)
	}
	if err := xtest.FakeInputChecked(me, xproto.KeyPress, 38, 0, root, 0, 0, 0).Check(); err != nil {
		t.Fatal(err)
	}
	for told := false; !told; {
		e, err := me.WaitForEvent()
		if e == nil {
			t.Fatalf("the person's program was not told of the key: %v", err)
		}
		_, told = e.(xproto.KeyPressEvent)
	}
	mine, err := xproto.QueryKeymap(me).Reply()
	if err != nil || mine.Keys[38/8]&(1<<(38%8)) == 0 {
		t.Fatalf("the key is not down: %x, %v", mine.Keys, err)
	}
	if its, err := xproto.QueryKeymap(it).Reply(); err == nil && !bytes.Equal(its.Keys, make([]byte, 32)) {
		t.Errorf("the container sees which keys are down: %x", its.Keys)
	}
	for {
		e, err := it.PollForEvent()
		if e == nil && err == nil {
			break
		}
		switch e.(type) {
		case xproto.KeyPressEvent, xproto.KeyReleaseEvent:
			t.Errorf("the container was told %v", e)
		}
	}
}

// The screen's real socket, under either name, and the person's cookie are not
// within reach of a program that sees the broker's folder.
func TestDisplayRealSocket(t *testing.T) {
	x, folder, _, _ := hostile(t)
	testenv.RequireTools(t, "xdpyinfo", "xwd", "cat", "ls", "sh")
	in := func(program string, arguments ...string) (string, error) {
		out, err := testenv.XClient(t, folder, person, program, arguments...).CombinedOutput()
		return string(out), err
	}
	if out, err := in("xdpyinfo"); err != nil {
		t.Fatalf("the display it was given: %v: %s", err, out)
	}
	if out, err := in("xwd", "-root", "-silent", "-out", "/dev/null"); err == nil {
		t.Errorf("xwd -root: %s", out)
	}
	// Whoever had the right cookie would still find no server.
	own := filepath.Join(filepath.Dir(folder), "stolen")
	cookie, err := os.ReadFile(x.Authority)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, cookie, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fmt.Sprintf(":%d", x.Number), fmt.Sprintf("unix:%d", x.Number), fmt.Sprintf("localhost:%d", x.Number)} {
		cmd := testenv.XClient(t, folder, person, "xdpyinfo", "-display", name)
		cmd.Env = append(cmd.Env, "XAUTHORITY="+own)
		if out, err := cmd.CombinedOutput(); err == nil {
			t.Errorf("the real server at %s answers: %s", name, out)
		}
	}
	if out, err := in("cat", "/proc/net/unix"); err != nil || strings.Contains(out, "@/tmp/.X11-unix") {
		t.Errorf("abstract names within reach: %v: %s", err, out)
	}
	// In the folder lies the container's cookie and nothing else's, and nothing can be
	// put there.
	out, err := in("ls", "-A", "/tmp/.X11-unix")
	if err != nil || out != "X0\nXauthority\n" {
		t.Errorf("the folder holds %q, %v", out, err)
	}
	if out, err := in("cat", "/tmp/.X11-unix/Xauthority"); err != nil || strings.Contains(out, string(x.Cookie)) {
		t.Errorf("the cookie file: %q, %v", out, err)
	}
	for _, script := range []string{"rm /tmp/.X11-unix/X0", "touch /tmp/.X11-unix/X1", "mv /tmp/.X11-unix/X0 /tmp/.X11-unix/X2", ": > /tmp/.X11-unix/Xauthority"} {
		if out, err := in("sh", "-c", script); err == nil {
			t.Errorf("%s: done %s", script, out)
		}
	}
}
