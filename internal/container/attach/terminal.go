package attach

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/sys"
)

// Interactive says whether the caller sits at a terminal: both ends of it.
func Interactive() bool {
	return term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd()))
}

// TerminalSize is the size of the caller's terminal, or zero.
func TerminalSize() control.Size {
	for _, f := range []*os.File{os.Stdout, os.Stdin, os.Stderr} {
		if cols, rows, err := term.GetSize(int(f.Fd())); err == nil {
			return control.Size{Rows: uint16(rows), Cols: uint16(cols)}
		}
	}
	return control.Size{}
}

// lateOutput is how long what a program wrote last may take through the kernel's
// terminal, which hands it on by a worker of its own.
const lateOutput = 50 * time.Millisecond

// endOfFile is what a terminal's line discipline takes for the end of its input
// (termios(3), VEOF).
var endOfFile = []byte{4}

// runTerminal runs a command on a pty of the container's own; its master comes
// back to us. The caller's terminal itself never goes inside (CVE-2017-5226).
func runTerminal(ctx context.Context, conn *control.Conn, e control.Exec, stdio Stdio, signals <-chan os.Signal) (int, error) {
	e.Size = TerminalSize()
	if err := conn.Write(e); err != nil {
		return control.StatusFailed, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	restore, err := Raw()
	if err != nil {
		return control.StatusFailed, err
	}
	defer restore()
	stop := passSignals(conn, signals, TerminalSize)
	defer stop()
	ended, end, err := os.Pipe()
	if err != nil {
		return control.StatusFailed, err
	}
	defer ended.Close()
	defer end.Close()
	shown := make(chan struct{})
	var master *os.File
	status, err := follow(ctx, conn, func(files []*os.File) error {
		if len(files) != 1 || master != nil {
			sys.CloseAll(files)
			return errors.New("the container sent no pty")
		}
		if err := control.CheckPty(files[0]); err != nil {
			files[0].Close()
			return err
		}
		master = files[0]
		go func() {
			if _, err := io.Copy(master, stdio.In); err == nil {
				_, _ = master.Write(endOfFile)
			}
		}()
		go func() {
			defer close(shown)
			drain(stdio.Out, master, ended, lateOutput)
		}()
		return nil
	})
	end.Close()
	if master != nil {
		<-shown
	}
	return status, err
}

// Raw puts the caller's terminal, if there is one, into raw mode: its keys are the
// program's, Ctrl-C too. The returned function puts it back.
func Raw() (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		return func() {}, nil
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("the terminal: %w", err)
	}
	return func() {
		// A terminal that is gone needs no restoring.
		_ = term.Restore(fd, state)
		_ = unix.SetNonblock(fd, false)
	}, nil
}

// detachKey leaves a console: Ctrl-], as telnet(1) and lxc-console's kin have it.
const detachKey = 0x1d

// Console joins the caller's terminal to the console of the container whose
// runtime folder is given, until the detach key is typed or the container ends.
func Console(ctx context.Context, runtimeDir string) error {
	c, err := sys.DialUnix("unix", filepath.Join(runtimeDir, store.ControlSocket))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	size := TerminalSize()
	if err := control.NewConn(c, control.MaxAnswer).Write(control.Request{Console: &size}); err != nil {
		return err
	}
	restore, err := Raw()
	if err != nil {
		return err
	}
	defer restore()
	go func() {
		defer c.Close()
		buffer := make([]byte, 1024)
		for {
			n, err := os.Stdin.Read(buffer)
			at := bytes.IndexByte(buffer[:n], detachKey)
			if at >= 0 {
				n = at
			}
			if _, writeErr := c.Write(buffer[:n]); err != nil || at >= 0 || writeErr != nil {
				return
			}
		}
	}()
	_, err = io.Copy(os.Stdout, c)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
