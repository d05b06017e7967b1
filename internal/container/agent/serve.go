package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/sys"
)

// Serve runs the commands of all who connect, until the listener ends.
func Serve(l *net.UnixListener, d Defaults) error {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		go ServeConn(c, d)
	}
}

// ServeConn runs the one command that is asked for on a connection.
func ServeConn(c *net.UnixConn, d Defaults) {
	conn := control.NewConn(c, control.MaxRequest)
	defer conn.Close()
	if err := conn.Write(control.Hello{Protocol: control.AgentProtocol}); err != nil {
		return
	}
	var request control.Exec
	files, err := conn.Read(&request)
	if err != nil {
		return
	}
	if request.Console {
		sys.CloseAll(files)
		lendConsole(conn, d.Console)
		return
	}
	if failure := run(conn, request, files, d); failure != nil {
		// Where the client is gone, nobody is left to be told.
		_ = conn.Write(control.Event{Failed: failure})
	}
}

func lendConsole(conn *control.Conn, console *os.File) {
	if console == nil {
		_ = conn.Write(control.Event{Failed: &control.Failure{Status: control.StatusFailed, Message: "no console here"}})
		return
	}
	_ = conn.Write(control.Event{Started: true}, console)
}

func run(conn *control.Conn, request control.Exec, files []*os.File, d Defaults) *control.Failure {
	var once sync.Once
	closeFiles := func() { once.Do(func() { sys.CloseAll(files) }) }
	defer closeFiles()
	c, failure := prepare(request, d)
	if failure != nil {
		return failure
	}
	var master *os.File
	if request.Terminal {
		var slave *os.File
		var err error
		if master, slave, err = openPty(c.user, request.Size); err != nil {
			return &control.Failure{Status: control.StatusFailed, Message: err.Error()}
		}
		defer master.Close()
		sys.CloseAll(files)
		files = []*os.File{slave, slave, slave}
	}
	if failure := addNull(&files, request.Null); failure != nil {
		return failure
	}
	process, failure := c.start([3]*os.File{files[0], files[1], files[2]}, request.Terminal)
	if failure != nil {
		return failure
	}
	closeFiles()
	started := []*os.File{}
	if master != nil {
		started = append(started, master)
	}
	// Before anything of its end can be told, however soon that is.
	startedErr := conn.Write(control.Event{Started: true}, started...)
	ended := make(chan struct{})
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		if startedErr == nil {
			listen(conn, process, master)
		}
		select {
		case <-ended:
		default: // nobody listens any more: end it as a closed terminal would
			_ = unix.Kill(-process.Pid, unix.SIGHUP)
			_ = unix.Kill(-process.Pid, unix.SIGCONT)
		}
	}()
	state, err := process.Wait()
	close(ended)
	if err != nil {
		return &control.Failure{Status: control.StatusFailed, Message: err.Error()}
	}
	exited := control.Exited{Code: state.ExitCode()}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		exited = control.Exited{Signal: int(ws.Signal())}
	}
	// A client that is gone has nobody to tell.
	_ = conn.Write(control.Event{Exited: &exited})
	conn.Close()
	<-heard
	return nil
}

// addNull puts the container's own /dev/null in the places that the client left for
// it, so that files are the three standard ones.
func addNull(files *[]*os.File, places []int) *control.Failure {
	for _, i := range places {
		if i < 0 || i > len(*files) {
			return &control.Failure{Status: control.StatusFailed, Message: fmt.Sprintf("%d is no standard descriptor", i)}
		}
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			return &control.Failure{Status: control.StatusFailed, Message: err.Error()}
		}
		*files = slices.Insert(*files, i, null)
	}
	if len(*files) != 3 {
		return &control.Failure{Status: control.StatusFailed, Message: fmt.Sprintf("%d descriptors came along, not 3", len(*files))}
	}
	return nil
}

// listen hands on what the client sends, until it is gone.
func listen(conn *control.Conn, process *os.Process, master *os.File) {
	for {
		var in control.Input
		files, err := conn.Read(&in)
		if err != nil {
			return
		}
		sys.CloseAll(files)
		switch {
		case in.Signal > 0 && in.Signal < 65:
			// The session's whole first process group, as a terminal's Ctrl-C. It
			// may be gone already.
			_ = unix.Kill(-process.Pid, unix.Signal(in.Signal))
		case in.Resize != nil && master != nil:
			_ = resize(master, *in.Resize)
		}
	}
}
