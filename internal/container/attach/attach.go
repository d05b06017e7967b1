package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/sys"
)

// ErrUnreachable says that neither agent nor supervisor answers: the container
// does not run, or its supervisor died and is to be adopted.
var ErrUnreachable = errors.New("the container does not answer")

// A Failure of a command to start, as told from inside.
type Failure struct {
	Status  int // exit status for it: 125, 126 or 127
	Message string
}

func (f *Failure) Error() string { return f.Message }

// agentTime is how long a resident agent may take to say hello before it is held
// for stopped or replaced; nothing was handed to it until then.
const agentTime = time.Second

// lentTime is the same for an agent that the supervisor must start first.
const lentTime = 30 * time.Second

// A Stdio is where a command's standard input comes from and its output goes.
type Stdio struct{ In, Out, Err *os.File }

// Own are the caller's own descriptors.
func Own() Stdio { return Stdio{os.Stdin, os.Stdout, os.Stderr} }

// Run runs a command in the container whose runtime folder is given, and returns
// its exit status.
func Run(ctx context.Context, runtimeDir string, e control.Exec, stdio Stdio) (int, error) {
	// From now on, so that none is lost between the command's start and our
	// hearing of it.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passed...)
	defer signal.Stop(signals)
	conn, err := connect(runtimeDir)
	if err != nil {
		return control.StatusFailed, err
	}
	defer conn.Close()
	if e.Terminal {
		return runTerminal(ctx, conn, e, stdio, signals)
	}
	return runPipes(ctx, conn, e, stdio, signals)
}

// connect returns a connection to an agent that has said hello: the resident one,
// else one that the supervisor lends.
func connect(dir string) (*control.Conn, error) {
	conn, err := greet(filepath.Join(dir, store.AgentSocket), nil, agentTime)
	if err == nil {
		return conn, nil
	}
	conn, lentErr := greet(filepath.Join(dir, store.ControlSocket), &control.Request{Agent: true}, lentTime)
	if lentErr == nil {
		return conn, nil
	}
	return nil, fmt.Errorf("%w: %w; %w", ErrUnreachable, err, lentErr)
}

func greet(socket string, request *control.Request, patience time.Duration) (*control.Conn, error) {
	c, err := sys.DialUnix("unix", socket)
	if err != nil {
		return nil, err
	}
	conn := control.NewConn(c, control.MaxAnswer)
	err = conn.SetDeadline(time.Now().Add(patience))
	if err == nil && request != nil {
		err = conn.Write(request)
	}
	if err == nil {
		err = hello(conn)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", socket, err)
	}
	return conn, nil
}

func hello(conn *control.Conn) error {
	var h control.Hello
	files, err := conn.Read(&h)
	sys.CloseAll(files)
	if err != nil {
		return err
	}
	if h.Protocol != control.AgentProtocol {
		return fmt.Errorf("it speaks protocol %d, this hutch %d: restart the container", h.Protocol, control.AgentProtocol)
	}
	return nil
}

// runPipes runs a command without a terminal. Inside it gets pipes and nothing
// else: a file of the host's, even one opened for reading alone, could be opened
// anew through /proc/self/fd by whoever has the person's id inside, and a folder
// would be a way out (CVE-2024-21626).
func runPipes(ctx context.Context, conn *control.Conn, e control.Exec, stdio Stdio, signals <-chan os.Signal) (int, error) {
	all := [3]*os.File{stdio.In, stdio.Out, stdio.Err}
	var files [3]*os.File
	var ours []*os.File
	defer func() { sys.CloseAll(ours) }()
	var outputs sync.WaitGroup
	ended, end, err := os.Pipe()
	if err != nil {
		return control.StatusFailed, err
	}
	ours = append(ours, ended, end)
	for i, own := range all {
		if harmless(own) {
			files[i] = own
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return control.StatusFailed, err
		}
		if i == 0 {
			files[i] = r
			go func() {
				_, _ = io.Copy(w, own) // a reader that is gone ends it
				w.Close()
			}()
		} else {
			files[i] = w
			outputs.Go(func() { drain(own, r, ended) })
			ours = append(ours, r)
		}
	}
	if err := conn.Write(e, files[:]...); err != nil {
		return control.StatusFailed, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	for i, own := range all {
		if files[i] != own {
			files[i].Close()
		}
	}
	stop := passSignals(conn, signals, nil)
	defer stop()
	status, err := follow(ctx, conn, func([]*os.File) error { return nil })
	end.Close() // what was written before the end is in the pipes by now
	outputs.Wait()
	return status, err
}

// harmless says whether a descriptor may be handed inside as it is: a pipe, or
// /dev/null.
func harmless(f *os.File) bool {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return true
	case unix.S_IFCHR:
		return unix.Major(st.Rdev) == 1 && unix.Minor(st.Rdev) == 3
	}
	return false
}

// drain copies from a pipe until it is closed, or, once ended is, until it is
// empty: a program that stays in the background may hold it open for good.
func drain(to io.Writer, from, ended *os.File) {
	buffer := make([]byte, 64<<10)
	pipe, done := int(from.Fd()), int(ended.Fd())
	for {
		fds := []unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}, {Fd: int32(done), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		if fds[0].Revents == 0 {
			if fds[1].Revents == 0 {
				continue
			}
			// What was written between the looks at the two is there by now.
			fds[1].Fd = -1
			if n, err := unix.Poll(fds, 0); n <= 0 || err != nil {
				return
			}
		}
		// Hung up does not mean empty: that too may have come between two looks.
		n, err := unix.Read(pipe, buffer)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return // closing our end is how the program hears of it
		}
	}
}

// follow hears what becomes of a command; started gets the descriptors that come
// when it runs.
func follow(ctx context.Context, conn *control.Conn, started func([]*os.File) error) (int, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for {
		var e control.Event
		files, err := conn.Read(&e)
		if err != nil {
			if ctx.Err() != nil {
				return control.StatusFailed, context.Cause(ctx)
			}
			return control.StatusFailed, fmt.Errorf("the container ended, or its agent was killed: %w", err)
		}
		switch {
		case e.Exited != nil:
			sys.CloseAll(files)
			return e.Exited.Status(), nil
		case e.Failed != nil:
			sys.CloseAll(files)
			status := e.Failed.Status
			if status != control.StatusNotFound && status != control.StatusNotExecutable {
				status = control.StatusFailed
			}
			return status, &Failure{status, e.Failed.Message}
		case e.Started:
			if err := started(files); err != nil {
				return control.StatusFailed, err
			}
		default:
			sys.CloseAll(files)
		}
	}
}

// passed are the signals that are the program's, not ours.
var passed = []os.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGWINCH,
}

// passSignals hands signals on until the returned function is called; size, where
// not nil, tells the terminal's.
func passSignals(conn *control.Conn, signals <-chan os.Signal, size func() control.Size) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				in := control.Input{Signal: int(s.(unix.Signal))}
				if s == unix.SIGWINCH {
					if size == nil {
						continue
					}
					now := size()
					in = control.Input{Resize: &now}
				}
				if conn.Write(in) != nil {
					return
				}
			}
		}
	}()
	return func() { close(done) }
}
