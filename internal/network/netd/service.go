package netd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network/bridge"
	"github.com/hutch-project/hutch/internal/network/firewall"
	"github.com/hutch-project/hutch/internal/network/host"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/sys"
)

// A Service answers containers in the router, DHCP and DNS for two. It stops when
// the context ends.
type Service interface {
	Serve(ctx context.Context) error
}

// Options say how hutchd runs.
type Options struct {
	Layout  paths.Layout
	Idle    time.Duration // without a port, until it withdraws and ends; 0 is never
	Version string
	Log     *slog.Logger
	// Services makes what answers in the router; it is called once, when the
	// gateway's addresses stand. It may be nil.
	Services func(*Engine) ([]Service, error)
}

// Run is hutchd from start to end. When the context ends it leaves the network in
// service for the next hutchd.
func Run(ctx context.Context, o Options) (err error) {
	if err := os.MkdirAll(o.Layout.Runtime, 0o755); err != nil {
		return err
	}
	lock, err := takeLock(o.Layout)
	if err != nil {
		return err
	}
	defer lock.Close()
	config, err := LoadConfig(o.Layout.NetdConfigFile())
	if err != nil {
		return err
	}
	engine, err := Open(o.Layout, config, o.Version, o.Log)
	if err != nil {
		// Half a network serves nobody, but one with ports is somebody's.
		if ports, e := loadPorts(portsFile(o.Layout)); e == nil && len(ports) == 0 {
			if rules, e := firewall.NewHost(); e == nil {
				err = errors.Join(err, withdraw(o.Layout, rules), rules.Close())
			}
		}
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var services []Service
	if o.Services != nil {
		if services, err = o.Services(engine); err != nil {
			return err
		}
	}
	failed := make(chan error, 2+len(services))
	for _, s := range services {
		go func() { failed <- s.Serve(ctx) }()
	}
	socket := o.Layout.NetdSocket()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// Users have no networks of their own yet: the door is root's.
	listener, err := sys.ListenUnix("unixpacket", socket, 0o600)
	if err != nil {
		return err
	}
	defer listener.Close()
	go func() { failed <- engine.Follow(ctx) }()
	go func() { failed <- (&Door{engine, o.Log}).Serve(ctx, listener) }()
	o.Log.Info("ready", "socket", socket, "subnet4", engine.Subnets().V4, "subnet6", engine.Subnets().V6)

	idle := make(<-chan time.Time)
	if o.Idle > 0 {
		ticker := time.NewTicker(min(o.Idle, time.Second))
		defer ticker.Stop()
		idle = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return errors.Join(os.Remove(socket))
		case err := <-failed:
			if ctx.Err() == nil {
				return errors.Join(err, errors.New("a part of hutchd ended"))
			}
		case <-idle:
			if engine.StopIfIdle(o.Idle) {
				o.Log.Info("nothing to do: withdrawing")
				cancel()
				return errors.Join(os.Remove(socket), engine.Withdraw())
			}
		}
	}
}

// ErrRunning says that another hutchd has this layout.
var ErrRunning = errors.New("another hutchd is running")

// takeLock makes this process the one hutchd of the layout and writes down who it
// is. The lock ends with the descriptor.
func takeLock(l paths.Layout) (*os.File, error) {
	f, err := os.OpenFile(lockFile(l), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			return nil, ErrRunning
		}
		return nil, os.NewSyscallError("flock", err)
	}
	me, err := sys.Identify(os.Getpid())
	if err == nil {
		err = save(processFile(l), me)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Cleanup stops a running hutchd and removes all that any has ever made on this
// machine for the layout, whether or not there is a record of it; the book of
// addresses stays. It works on a machine that never had a hutchd.
func Cleanup(l paths.Layout) error {
	if err := stopRunning(l); err != nil {
		return err
	}
	rules, err := firewall.NewHost()
	if err != nil {
		return err
	}
	defer rules.Close()
	err = withdraw(l, rules)
	for _, f := range []string{l.NetdSocket(), processFile(l), lockFile(l)} {
		if e := os.Remove(f); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func stopRunning(l paths.Layout) error {
	data, err := os.ReadFile(processFile(l))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var p sys.Process
	if err := json.Unmarshal(data, &p); err != nil {
		return nil // half a record is nobody's
	}
	pidfd, err := p.Open()
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer pidfd.Close()
	for _, try := range []struct {
		signal unix.Signal
		wait   time.Duration
	}{{unix.SIGTERM, 5 * time.Second}, {unix.SIGKILL, 5 * time.Second}} {
		err := unix.PidfdSendSignal(int(pidfd.Fd()), try.signal, nil, 0)
		if err != nil && err != unix.ESRCH {
			return fmt.Errorf("stop hutchd, process %d: %w", p.PID, err)
		}
		if gone, err := sys.WaitExit(pidfd, try.wait); gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("hutchd, process %d, does not end", p.PID)
}

// withdraw undoes everything on the host, the settings first: without forwarding
// nothing passes while the rest goes.
func withdraw(l paths.Layout, rules *firewall.Host) error {
	err := errors.Join(
		host.Forwarding{Record: forwardingFile(l)}.Restore(),
		bridge.Remove(l.RouterNamespace()),
		rules.Remove(),
		host.RemoveGuard(),
	)
	if e := os.Remove(portsFile(l)); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}
