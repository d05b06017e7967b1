package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/order"
	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/container/spec"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/sys"
)

// listen opens the control socket, in place of one that a dead supervisor left.
func (s *Supervisor) listen() error {
	path := filepath.Join(s.dir, store.ControlSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := sys.ListenUnix("unix", path, 0o600)
	if err != nil {
		return err
	}
	s.listener = l
	s.down.Push("close the control socket", l.Close)
	return nil
}

// Serve answers requests until the container has ended, then takes everything
// away.
func (s *Supervisor) Serve() error {
	go s.accept()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	go func() {
		for range ended {
			if err := s.container.ReapStrays(); err != nil {
				s.log.Error("reap", "error", err)
			}
		}
	}()
	if s.agentListener != nil {
		// Without it commands go the slower way.
		err := s.startAgent()
		s.log.Debug("agent started", "error", err)
	}
	init, err := s.run.Init.Open()
	if err == nil {
		_, err = sys.WaitExit(init, -1)
		init.Close()
	}
	if errors.Is(err, unix.ESRCH) {
		err = nil
	}
	s.log.Info("container ended", "error", err)
	err = errors.Join(err, s.down.Unwind())
	close(s.ended)
	s.answers.Wait() // those who asked for the end are told before we go
	return err
}

func (s *Supervisor) accept() {
	for {
		c, err := s.listener.AcceptUnix()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("control socket", "error", err)
			}
			return
		}
		s.answers.Go(func() { s.answer(c) })
	}
}

// requestTime bounds how long a client may take to say what it wants.
const requestTime = 10 * time.Second

func (s *Supervisor) answer(c *net.UnixConn) {
	defer c.Close()
	peer, err := sys.Peer(c)
	if err != nil || peer.Uid != uint32(os.Geteuid()) && peer.Uid != 0 {
		s.log.Warn("refused a control connection", "peer", peer, "error", err)
		return
	}
	conn := control.NewConn(c, control.MaxRequest)
	if err := conn.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return
	}
	var r control.Request
	files, err := conn.Read(&r)
	defer sys.CloseAll(files)
	if err != nil {
		s.log.Warn("control request", "error", err)
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	switch {
	case r.Agent:
		err = s.lendAgent(c)
	case r.Console != nil:
		s.attachConsole(c, *r.Console)
		return
	default:
		var answer control.Answer
		answer, err = s.do(r, files)
		if err != nil {
			answer.Error = err.Error()
		}
		err = conn.Write(answer)
	}
	if err != nil {
		s.log.Warn("control answer", "error", err)
	}
}

func (s *Supervisor) do(r control.Request, files []*os.File) (control.Answer, error) {
	var a control.Answer
	switch {
	case r.Stop != nil:
		return a, s.stop(*r.Stop)
	case r.Usage:
		usage, err := s.usage()
		a.Usage = usage
		return a, err
	case r.Limits != nil:
		l := *r.Limits
		return a, s.container.Limit(spec.Resources(l.Memory, l.CPUs, l.PIDs))
	case r.Display != nil:
		if s.screen == nil {
			return a, nil
		}
		return a, s.screen.SetUpstream(*r.Display)
	case r.Mount != nil:
		if len(files) != 1 {
			return a, errors.New("a mount comes with one descriptor")
		}
		return a, s.mount(*r.Mount, files[0])
	case r.Unmount != "":
		return a, s.unmount(r.Unmount)
	}
	return a, errors.New("a request that asks for nothing this supervisor knows; was hutch upgraded? restart the container")
}

// stop asks the container to end, and ends it after the timeout. It returns when
// everything is gone.
func (s *Supervisor) stop(r control.Stop) error {
	s.run.State = container.Stopping
	if err := s.store.SaveRun(s.order.Record.Name, s.run); err != nil {
		s.log.Warn("state", "error", err) // it stops all the same
	}
	if !r.Force {
		if err := s.askToEnd(r.Timeout); err != nil {
			return err
		}
		select {
		case <-s.ended:
			return nil
		default:
			s.log.Info("container did not end in time", "timeout", r.Timeout)
		}
	}
	if err := s.container.Kill(); err != nil {
		return err
	}
	<-s.ended
	return nil
}

// lookAgain is how often a first process that has no handler yet is looked at, and
// askAgain how often one that has is asked: what heard us may have been the runtime
// that was about to become it.
const (
	lookAgain = 5 * time.Millisecond
	askAgain  = 500 * time.Millisecond
)

// askToEnd asks the first process to end, as soon as it can hear it, and waits until
// the container has ended or the time is up. A signal that it has no handler for does
// not reach the first process of a namespace (pid_namespaces(7)): one that has only
// just begun would never know.
func (s *Supervisor) askToEnd(timeout time.Duration) error {
	ask := stopSignal(s.run.InitKind)
	over := time.After(timeout)
	for wait := lookAgain; ; {
		if s.run.Init.Hears(ask) {
			if err := s.run.Init.Signal(ask); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
			wait = askAgain
		}
		if wait == askAgain {
			// Also when it has become another program, that hears no more: an agent
			// that another supervisor started ends without our knowing.
			s.tellOfChild()
		}
		select {
		case <-s.ended:
			return nil
		case <-over:
			return nil
		case <-time.After(wait):
		}
	}
}

// stopSignal asks a first process of some kind to end.
func stopSignal(kind string) unix.Signal {
	if kind == "system" {
		return rtmin + 3 // systemd's halt.target (systemd(1), "SIGNALS")
	}
	return unix.SIGTERM
}

// tellOfChild tells the first process that a process inside has ended of which it is
// not the parent, the agent: systemd-shutdown waits until all that it has ended are
// gone, and looks again only at a SIGCHLD. To others one more means nothing.
func (s *Supervisor) tellOfChild() {
	if err := s.run.Init.Signal(unix.SIGCHLD); err != nil && !errors.Is(err, unix.ESRCH) {
		s.log.Warn("tell the first process of an end", "error", err)
	}
}

// rtmin is glibc's SIGRTMIN (signal(7)).
const rtmin = unix.Signal(34)

func (s *Supervisor) usage() (*control.Usage, error) {
	stats, err := s.container.Stats()
	if err != nil {
		return nil, err
	}
	bound := func(limit uint64) int64 {
		if limit == 0 || limit > 1<<62 { // the kernel's words for none
			return -1
		}
		return int64(limit)
	}
	counted := func(n uint64) int64 {
		if n == 0 { // no container that runs uses nothing: nobody counts
			return -1
		}
		return int64(n)
	}
	return &control.Usage{
		Memory:      counted(stats.MemoryStats.Usage.Usage),
		MemoryLimit: bound(stats.MemoryStats.Usage.Limit),
		Tasks:       counted(stats.PidsStats.Current),
		TasksLimit:  bound(stats.PidsStats.Limit),
		CPU:         counted(stats.CpuStats.CpuUsage.TotalUsage),
		OOMKills:    int64(stats.MemoryStats.Usage.Failcnt),
	}, nil
}

// lendAgent starts an agent for one command on the client's own connection: the
// way that always works, whatever the container did to the resident one.
func (s *Supervisor) lendAgent(c *net.UnixConn) error {
	f, err := c.File()
	if err != nil {
		return err
	}
	defer f.Close()
	p, err := s.container.Run([]string{agentProgram(1), "once", s.order.User}, s.agentEnv(), []*os.File{f, s.agent})
	if err != nil {
		return fmt.Errorf("start an agent: %w", err)
	}
	f.Close()
	c.Close()
	_, err = p.Wait()
	return err
}

func (s *Supervisor) attachConsole(c *net.UnixConn, size control.Size) {
	if s.console == nil {
		return
	}
	if size.Rows > 0 && size.Cols > 0 {
		if err := s.console.Resize(size.Rows, size.Cols); err != nil {
			s.log.Warn("console size", "error", err)
		}
	}
	s.console.Attach(c)
}

func (s *Supervisor) mount(m control.Mount, mount *os.File) error {
	mountns, err := s.container.Namespace("mnt")
	if err != nil {
		return err
	}
	defer mountns.Close()
	if slices.ContainsFunc(s.order.Mounts, func(l order.Lent) bool { return l.Target == m.Target }) {
		return fmt.Errorf("%s: something is lent there already", m.Target)
	}
	err = s.container.Starting(func() error { return rootfs.LendLive(s.dir, mountns, mount, m.Target, s.targetOwner(m.Target)) })
	if err != nil {
		return err
	}
	s.order.Mounts = append(s.order.Mounts, order.Lent{Source: m.Source, Target: m.Target})
	return s.keepOrder()
}

func (s *Supervisor) unmount(target string) error {
	i := slices.IndexFunc(s.order.Mounts, func(l order.Lent) bool { return l.Target == target })
	if i < 0 {
		return fmt.Errorf("%s: nothing is lent there", target)
	}
	mountns, err := s.container.Namespace("mnt")
	if err != nil {
		return err
	}
	defer mountns.Close()
	if err := rootfs.TakeBack(mountns, target); err != nil {
		return err
	}
	s.order.Mounts = slices.Delete(s.order.Mounts, i, i+1)
	return s.keepOrder()
}
