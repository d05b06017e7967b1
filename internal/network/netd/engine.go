package netd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/network/bridge"
	"github.com/hutch-project/hutch/internal/network/firewall"
	"github.com/hutch-project/hutch/internal/network/host"
	"github.com/hutch-project/hutch/internal/paths"
)

// A refusal is a no to a caller, with what to do about it.
type refusal struct{ message, remedy string }

func (r *refusal) Error() string { return r.message }

// An Engine keeps the network as it should be. Its methods may be called by
// several goroutines at once.
type Engine struct {
	layout  paths.Layout
	log     *slog.Logger
	version string
	started time.Time

	mu        sync.Mutex
	stopping  bool
	router    *bridge.Router
	rules     *firewall.Router
	hostRules *firewall.Host
	settings  host.Forwarding
	book      network.AddressBook
	ports     []portRecord
	outside   network.Outside
	idleSince time.Time
	warning   error // what the last reconciliation could not do
}

// Open makes or adopts the network: the router, the ports that a hutchd before
// this one left, and the host's side.
func Open(l paths.Layout, c Config, version string, log *slog.Logger) (e *Engine, err error) {
	e = &Engine{layout: l, log: log, version: version, started: time.Now(), idleSince: time.Now(),
		settings: host.Forwarding{Record: forwardingFile(l)}}
	for dir, mode := range map[string]os.FileMode{l.Netd: 0o700, l.Runtime: 0o755} {
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, err
		}
	}
	for _, file := range []string{bookFile(l), portsFile(l), forwardingFile(l), processFile(l)} {
		if err := atomicfile.Sweep(filepath.Dir(file), filepath.Base(file)); err != nil {
			return nil, err
		}
	}
	if e.book, err = loadBook(bookFile(l)); err != nil {
		return nil, err
	}
	if e.ports, err = loadPorts(portsFile(l)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if e.router, err = bridge.Open(l.RouterNamespace()); err != nil {
		return nil, err
	}
	if err := e.dropDead(); err != nil {
		return nil, err
	}
	has, err := host.Look()
	if err != nil {
		return nil, err
	}
	seed, err := os.ReadFile("/etc/machine-id")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	subnets, err := chooseSubnets(c, e.book.Subnets, len(e.ports) > 0, has.Taken(), string(seed))
	if err != nil {
		return nil, err
	}
	if subnets != e.book.Subnets {
		log.Info("chose subnets", "v4", subnets.V4, "v6", subnets.V6)
		e.book.Subnets = subnets
		if err := save(bookFile(l), e.book); err != nil {
			return nil, err
		}
	}
	if e.rules, err = firewall.NewRouter(e.router.Namespace(), bridge.Up, bridge.Bridge); err != nil {
		return nil, err
	}
	if e.hostRules, err = firewall.NewHost(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e, e.reconcile()
}

// Close lets go of the network and leaves it in service.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopping = true
	var failures []error
	if e.rules != nil {
		failures = append(failures, e.rules.Close())
	}
	if e.hostRules != nil {
		failures = append(failures, e.hostRules.Close())
	}
	if e.router != nil {
		failures = append(failures, e.router.Close())
	}
	return errors.Join(failures...)
}

// Follow reconciles whenever the host or the ports change, and once in a while
// without being told, until the context ends.
func (e *Engine) Follow(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	if err := host.Watch(ctx, note); err != nil {
		return err
	}
	if err := e.router.Watch(ctx, note); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(recheck):
		}
		begun := time.Now()
		e.mu.Lock()
		if !e.stopping {
			if err := e.reconcile(); err != nil {
				e.log.Warn("the network is not as it should be", "error", err)
			}
		}
		e.mu.Unlock()
		// A host whose routes never rest does not get all of the processor.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(2 * time.Since(begun)):
		}
	}
}

// recheck is the time between two looks that nothing has asked for.
const recheck = 10 * time.Second

// reconcile makes everything match the host and the ports as they are now. What
// closes comes first. The caller holds the lock.
func (e *Engine) reconcile() (err error) {
	defer func() { e.warning = err }()
	if err := e.dropDead(); err != nil {
		return err
	}
	has, err := host.Look()
	if err != nil {
		return err
	}
	e.outside = network.Look(has)
	if err := e.rules.Apply(e.wanted()); err != nil {
		return err
	}
	if err := e.router.Ensure(e.book.Subnets); err != nil {
		return err
	}
	// Forwarding last: the guard stands before an interface forwards.
	wanted := host.Settings(e.outside, host.Has)
	guard, err := e.settings.Guard(wanted)
	if err != nil {
		return err
	}
	if err := host.EnsureGuard(guard, e.book.Subnets); err != nil {
		return err
	}
	wrote, err := e.hostRules.Apply(firewall.HostState{Subnets: e.book.Subnets, Outside: e.outside,
		Guard4: guard.Links4, Guard6: guard.Links6, GuardAll6: guard.All6})
	if err != nil {
		return err
	}
	if wrote {
		e.log.Info("wrote the host's rules", "uplinks", e.outside.Uplinks())
	}
	return e.settings.Apply(wanted)
}

func (e *Engine) wanted() network.Wanted {
	w := network.Wanted{Subnets: e.book.Subnets, Outside: e.outside}
	for _, p := range e.ports {
		w.Ports = append(w.Ports, e.port(p))
	}
	return w
}

func (e *Engine) port(p portRecord) network.Port {
	return network.NewPort(e.book.Subnets, p.ID, p.Name, p.Number, p.Policy)
}

// dropDead strikes the ports whose namespaces are gone off the record, and the
// links of which there is no record off the bridge.
func (e *Engine) dropDead() error {
	alive, err := e.router.Ports()
	if err != nil {
		return err
	}
	var left, dead []portRecord
	for _, p := range e.ports {
		if link := network.PortName(p.ID); alive[link] {
			left = append(left, p)
			delete(alive, link)
		} else {
			dead = append(dead, p)
		}
	}
	for link := range alive {
		if err := e.router.Detach(link); err != nil {
			return err
		}
	}
	if len(dead) == 0 {
		return nil
	}
	for _, p := range dead {
		// A router that was made anew has nothing to forget, not even a bridge.
		if err := e.forgetTraffic(p); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
			return err
		}
		e.log.Info("port gone", "container", p.Name)
	}
	return e.keep(left)
}

// keep makes the list the ports in use.
func (e *Engine) keep(ports []portRecord) error {
	if err := save(portsFile(e.layout), portRecords{portsSchema, ports}); err != nil {
		return err
	}
	e.ports = ports
	if len(ports) == 0 {
		e.idleSince = time.Now()
	}
	return nil
}

func (e *Engine) forgetTraffic(p portRecord) error {
	return e.router.Forget(e.port(p))
}

// Attach gives the namespace a port. The same container in the same namespace gets
// the port it has; in another one, a new port in place of the old.
func (e *Engine) Attach(a api.Attach, ns *os.File, uid uint32) (*api.Lease, error) {
	if err := errors.Join(network.CheckID(a.ID), network.CheckName(a.Name)); err != nil {
		return nil, &refusal{err.Error(), ""}
	}
	if a.Policy != api.Internet {
		return nil, &refusal{fmt.Sprintf("policy %.20q can not be attached", a.Policy), "there is \"internet\"; a container of policy \"none\" needs no port"}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return nil, &refusal{"hutchd is stopping", "try again"}
	}
	id, err := checkNamespace(ns, e.router.Namespace(), uid)
	if err != nil {
		return nil, &refusal{err.Error(), ""}
	}
	if err := e.dropDead(); err != nil {
		return nil, err
	}
	for _, p := range e.ports {
		switch {
		case p.ID == a.ID && p.UID != uid && uid != 0:
			return nil, &refusal{"the container belongs to another user", ""}
		case p.ID == a.ID && p.Namespace == id && p.Policy == a.Policy && p.Name == a.Name:
			lease := e.port(p).Lease(e.book.Subnets, p.MTU)
			return &lease, nil
		case p.ID != a.ID && p.Name == a.Name:
			return nil, &refusal{fmt.Sprintf("another container %s has a port", a.Name), "stop it first"}
		case p.ID != a.ID && p.Namespace == id:
			return nil, &refusal{fmt.Sprintf("the namespace has the port of container %s", p.Name), ""}
		case p.ID != a.ID && network.PortName(p.ID) == network.PortName(a.ID):
			return nil, &refusal{"the container's id is too much like another's", "create it anew"}
		}
	}
	number, taken, err := e.book.Number(a.ID)
	if err != nil {
		return nil, &refusal{err.Error(), ""}
	}
	if taken {
		if err := save(bookFile(e.layout), e.book); err != nil {
			return nil, err
		}
	}
	p := portRecord{ID: a.ID, Name: a.Name, UID: uid, Policy: a.Policy, Number: number, Namespace: id, MTU: e.outside.MTU, Since: time.Now()}
	// Whoever had the address or the name of the port before: nothing of it is left
	// when the new one comes; ports that are gone took along what the router
	// remembered of them.
	if err := e.detach(a.ID); err != nil {
		return nil, err
	}
	port := e.port(p)
	if err := e.router.Attach(port, ns, e.book.Subnets, p.MTU); errors.Is(err, bridge.ErrOccupied) {
		return nil, &refusal{err.Error(), ""}
	} else if err != nil {
		return nil, err
	}
	err = e.keep(append(slices.Clone(e.ports), p))
	if err == nil {
		err = e.rules.Apply(e.wanted())
	}
	if err != nil {
		return nil, errors.Join(err, e.detach(a.ID), e.router.Detach(port.Link))
	}
	e.log.Info("attached", "container", a.Name, "address4", port.Address4, "address6", port.Address6)
	lease := port.Lease(e.book.Subnets, p.MTU)
	return &lease, nil
}

// Detach takes a port away; the addresses stay the container's. A container that
// has none is no error.
func (e *Engine) Detach(id string, uid uint32) error {
	if err := network.CheckID(id); err != nil {
		return &refusal{err.Error(), ""}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.ports {
		if p.ID == id && p.UID != uid && uid != 0 {
			return &refusal{"the container belongs to another user", ""}
		}
	}
	return e.detach(id)
}

func (e *Engine) detach(id string) error {
	i := slices.IndexFunc(e.ports, func(p portRecord) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	p := e.ports[i]
	if err := e.keep(slices.Delete(slices.Clone(e.ports), i, i+1)); err != nil {
		return err
	}
	if err := e.rules.Apply(e.wanted()); err != nil {
		return err
	}
	e.log.Info("detached", "container", p.Name)
	return errors.Join(e.router.Detach(network.PortName(id)), e.forgetTraffic(p))
}

// Forget detaches and frees the addresses.
func (e *Engine) Forget(id string, uid uint32) error {
	if err := e.Detach(id, uid); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, known := e.book.Numbers[id]; !known {
		return nil
	}
	delete(e.book.Numbers, id)
	return save(bookFile(e.layout), e.book)
}

// Retain frees the addresses of all containers but those named and those that have
// a port: an id that is not named and has one belongs to a container that was made
// after the caller looked.
func (e *Engine) Retain(ids []string, uid uint32) error {
	if uid != 0 {
		return &refusal{"whose containers there are is root's to say", ""}
	}
	keep := map[string]bool{}
	for _, id := range ids {
		if err := network.CheckID(id); err != nil {
			return &refusal{err.Error(), ""}
		}
		keep[id] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.ports {
		keep[p.ID] = true
	}
	before := len(e.book.Numbers)
	maps.DeleteFunc(e.book.Numbers, func(id string, _ uint32) bool { return !keep[id] })
	if len(e.book.Numbers) == before {
		return nil
	}
	e.log.Info("freed addresses of containers that are no more", "number", before-len(e.book.Numbers))
	return save(bookFile(e.layout), e.book)
}

// List returns the ports in use that the caller may see.
func (e *Engine) List(uid uint32) []api.Attachment {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []api.Attachment{}
	for _, p := range e.ports {
		if uid == 0 || p.UID == uid {
			list = append(list, api.Attachment{ID: p.ID, Name: p.Name, UID: p.UID, Policy: p.Policy,
				Lease: e.port(p).Lease(e.book.Subnets, p.MTU), Since: p.Since})
		}
	}
	return list
}

// Status returns what hutchd says of itself.
func (e *Engine) Status() *api.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := &api.Status{PID: os.Getpid(), Version: e.version, Since: e.started,
		Subnet4: e.book.Subnets.V4, Subnet6: e.book.Subnets.V6, Uplinks: e.outside.Uplinks()}
	if len(e.outside.Uplinks4) == 0 {
		s.Warning = append(s.Warning, "the host has no IPv4 default route: containers reach nothing by IPv4")
	}
	if len(e.outside.Uplinks6) == 0 {
		s.Warning = append(s.Warning, "the host has no IPv6 default route: containers reach nothing by IPv6")
	}
	if e.warning != nil {
		s.Warning = append(s.Warning, e.warning.Error())
	}
	return s
}

// StopIfIdle decides to stop when no port has been in use for the given time; no
// port is given after that.
func (e *Engine) StopIfIdle(idle time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ports) == 0 && time.Since(e.idleSince) >= idle {
		e.stopping = true
	}
	return e.stopping
}

// Withdraw takes all that hutchd has made on the host away.
func (e *Engine) Withdraw() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopping = true
	return withdraw(e.layout, e.hostRules)
}

// Subnets are the ones in use.
func (e *Engine) Subnets() network.Subnets { return e.book.Subnets }

// Router is the namespace that services listen in.
func (e *Engine) Router() *os.File { return e.router.Namespace() }

// Lookup returns the addresses of the container of that name, without its domain,
// as far as whoever asks from the given address may see it: the host all, a
// container itself.
func (e *Engine) Lookup(asker netip.Addr, name string) []netip.Addr {
	e.mu.Lock()
	defer e.mu.Unlock()
	fromHost := asker == e.book.Subnets.Link4() || asker == e.book.Subnets.Link6()
	for _, p := range e.ports {
		port := e.port(p)
		if p.Name == name && (fromHost || asker == port.Address4 || asker == port.Address6) {
			return []netip.Addr{port.Address4, port.Address6}
		}
	}
	return nil
}

// LeaseOf returns what the container with the hardware address was given. The
// bridge has seen to it that nobody else sends with it.
func (e *Engine) LeaseOf(mac net.HardwareAddr) (api.Lease, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.ports {
		if port := e.port(p); port.MAC.String() == mac.String() {
			return port.Lease(e.book.Subnets, p.MTU), true
		}
	}
	return api.Lease{}, false
}
