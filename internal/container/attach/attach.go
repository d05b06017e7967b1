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

// startTime is how long an agent may take from the request until the command runs.
// Nobody can tell a stopped agent from one that is slow: the command may run yet.
const startTime = 10 * time.Second

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

// runPipes runs a command without a terminal. Inside it gets pipes of our own and
// nothing else: a file of the host's, even one opened for reading alone, could be
// opened anew through /proc/self/fd by whoever has the person's id inside, and a
// folder would be a way out (CVE-2024-21626). So could the caller's pipe, the other
// way round, to read what others write to it; and an agent that stops with it in its
// hands would keep it open for good.
func runPipes(ctx context.Context, conn *control.Conn, e control.Exec, stdio Stdio, signals <-chan os.Signal) (int, error) {
	var files, ours []*os.File
	defer func() { sys.CloseAll(ours) }()
	defer func() { sys.CloseAll(files) }()
	var outputs sync.WaitGroup
	ended, end, err := os.Pipe()
	if err != nil {
		return control.StatusFailed, err
	}
	ours = append(ours, ended, end)
	for i, own := range []*os.File{stdio.In, stdio.Out, stdio.Err} {
		if isNull(own) {
			e.Null = append(e.Null, i)
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return control.StatusFailed, err
		}
		if i == 0 {
			files = append(files, r)
			go func() {
				_, _ = io.Copy(w, own) // a reader that is gone ends it
				w.Close()
			}()
		} else {
			files = append(files, w)
			outputs.Go(func() { drain(own, r, ended, 0) })
			ours = append(ours, r)
		}
	}
	if err := conn.Write(e, files...); err != nil {
		return control.StatusFailed, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	sys.CloseAll(files)
	files = nil
	stop := passSignals(conn, signals, nil)
	defer stop()
	status, err := follow(ctx, conn, func(files []*os.File) error {
		if len(files) > 0 {
			sys.CloseAll(files)
			return errors.New("the container sent descriptors that nobody asked for")
		}
		return nil
	})
	end.Close() // what was written before the end is in the pipes by now
	outputs.Wait()
	return status, err
}

// isNull says whether a descriptor is /dev/null.
func isNull(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(st.Rdev) == 1 && unix.Minor(st.Rdev) == 3
}

// most is what a pipe can hold, in bytes (pipe(7), "Pipe capacity").
const most = 1 << 20

// drain copies from a pipe until it is closed, or, once ended is, until it is
// empty or more was copied than was in it then: a program that stays in the
// background may hold it open, and write, for good. What was written to a terminal
// may be on its way a moment longer: late is how long, zero for pipes.
func drain(to io.Writer, from, ended *os.File, late time.Duration) {
	buffer := make([]byte, 64<<10)
	left := most
	pipe, done := int(from.Fd()), int(ended.Fd())
	for {
		fds := []unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}, {Fd: int32(done), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		over := fds[1].Revents != 0
		if fds[0].Revents == 0 {
			if !over {
				continue
			}
			// A last word may have come between the kernel's look for words and its
			// look for the end.
			if n, err := unix.Poll(fds[:1], int(late.Milliseconds())); err != unix.EINTR && n <= 0 {
				return
			}
		}
		if over && left <= 0 {
			return
		}
		// Hung up does not mean empty: that too may have come between two looks.
		n, err := unix.Read(pipe, buffer)
		if err == unix.EAGAIN || err == unix.EINTR { // another process may have the other end too, and read before us
			continue
		}
		if n <= 0 || err != nil {
			return
		}
		if over {
			left -= n
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
	if err := conn.SetDeadline(time.Now().Add(startTime)); err != nil {
		return control.StatusFailed, err
	}
	for {
		var e control.Event
		files, err := conn.Read(&e)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return control.StatusFailed, fmt.Errorf("the container's agent did not start the command within %v; 'hutch restart' gives it another", startTime)
		}
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
			if err := conn.SetDeadline(time.Time{}); err != nil {
				sys.CloseAll(files)
				return control.StatusFailed, err
			}
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
