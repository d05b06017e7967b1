package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/desktop/display"
	"github.com/hutch-project/hutch/internal/testenv"
	"github.com/hutch-project/hutch/internal/undo"
)

// windows run in the container, as the person; $1 is the text that xmore shows.
const windows = `printf '%s' "$1" >/tmp/found
xmore -geometry 600x560+40+40 -xrm '*textFontNormal: 7x13' -xrm '*background: #fdf6e3' /tmp/found &
xeyes -geometry 280x230+680+40 -outline '#26465b' -fg '#26465b' -center '#fdf6e3' -xrm '*background: #6f9d97' &
xclock -geometry 280x290+680+310 -bg '#fdf6e3' -hd '#26465b' -hl '#26465b' &
wait`

var classes = []string{"XMore", "XEyes", "XClock"}

// show runs programs in the container until the end of the demo and takes a
// picture of their windows. It returns the picture's path.
func (h *hutch) show(ctx context.Context, s *screen, lease string, tried []row, back *undo.Stack) (string, error) {
	var text strings.Builder
	fmt.Fprintf(&text, "A program in the hutch %q looked around:\n\n", name)
	for _, r := range tried {
		fmt.Fprintln(&text, r.brief())
	}
	fmt.Fprintf(&text, "\n$ hutch info %s\n%s", name, lease)
	var said bytes.Buffer
	c := h.command("hutch", "run", name, "--", "sh", "-c", windows, "sh", text.String())
	c.Stdout, c.Stderr = &said, &said
	if err := h.world.Start(h.world.Host, c); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	back.Push("end the windows", func() error {
		_ = c.Process.Signal(unix.SIGTERM)
		<-ended // how it ended after a signal says nothing
		return nil
	})
	deadline := time.Now().Add(30 * time.Second)
	for !s.shows(ctx, classes...) {
		if time.Now().After(deadline) || ctx.Err() != nil {
			_ = c.Process.Signal(unix.SIGTERM)
			ended <- <-ended
			return "", fmt.Errorf("their windows did not come: %s", said.String())
		}
		time.Sleep(20 * time.Millisecond)
	}
	shot, err := settled(ctx, s)
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(picture)
	if err != nil {
		return "", err
	}
	return path, save(path, shot)
}

// settled takes pictures until two are the same, which is when all has been drawn;
// on a screen that moves, the last of a second is taken.
func settled(ctx context.Context, s *screen) (image.Image, error) {
	var before []byte
	for end := time.Now().Add(time.Second); ; time.Sleep(150 * time.Millisecond) {
		shot, err := display.Screenshot(ctx, s.display)
		if err != nil {
			return nil, err
		}
		now := shot.(*image.RGBA).Pix
		if bytes.Equal(before, now) || time.Now().After(end) {
			return shot, nil
		}
		before = now
	}
}

// save writes the picture, which may show what stands on a person's screen, for
// that person alone.
func save(path string, shot image.Image) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	return errors.Join(encoder.Encode(f, shot), f.Close(), toPerson(path))
}

// paint gives a screen of the demo's own a background: a slope from one colour to
// another.
func paint(x *testenv.XServer) error {
	if err := os.Setenv("XAUTHORITY", x.Authority); err != nil { // xgb asks nowhere else
		return err
	}
	defer os.Unsetenv("XAUTHORITY")
	c, err := xgb.NewConnDisplay(fmt.Sprintf(":%d", x.Number))
	if err != nil {
		return err
	}
	defer c.Close()
	scr := xproto.Setup(c).DefaultScreen(c)
	pixmap, err1 := xproto.NewPixmapId(c)
	gc, err2 := xproto.NewGcontextId(c)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	xproto.CreatePixmap(c, scr.RootDepth, pixmap, xproto.Drawable(scr.Root), width, height)
	xproto.CreateGC(c, gc, xproto.Drawable(pixmap), 0, nil)
	for y := range height {
		line := make([]byte, 0, 4*width)
		for range width {
			line = binary.LittleEndian.AppendUint32(line, slope(0x2b5876, 0x8fb8a8, y, height))
		}
		xproto.PutImage(c, xproto.ImageFormatZPixmap, xproto.Drawable(pixmap), gc, width, 1, 0, int16(y), 0, scr.RootDepth, line)
	}
	xproto.ChangeWindowAttributes(c, scr.Root, xproto.CwBackPixmap, []uint32{uint32(pixmap)})
	return xproto.ClearAreaChecked(c, false, scr.Root, 0, 0, 0, 0).Check()
}

// slope is the colour of line y of n, between two of the form 0xRRGGBB.
func slope(from, to uint32, y, n int) (colour uint32) {
	for shift := 0; shift < 24; shift += 8 {
		a, b := int(from>>shift&0xff), int(to>>shift&0xff)
		colour |= uint32(a+(b-a)*y/n) << shift
	}
	return colour
}
