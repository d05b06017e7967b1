package firewall

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/network/api"
)

// TableName is the name of hutch's tables, in the router and on the host.
const TableName = "hutch"

// FlowLimit is the most connections that one container may have open at once, so
// that none can fill the host's table of connections.
const FlowLimit = 8192

// A Router holds the rules of the router's namespace. It is not safe for use by
// several goroutines at once.
type Router struct {
	conn    *nftables.Conn
	uplink  string // the router's link to the host
	bridge  string
	subnets network.Subnets // what the rules stand for; invalid before the first Apply
	sets    routerSets
}

type routerSets struct {
	closed4, closed6     *nftables.Set
	internet4, internet6 *nftables.Set
	owners               *nftables.Set // port . MAC
	owners4, owners6     *nftables.Set // port . MAC . address
}

// NewRouter makes rules in the given namespace, whose links have the given names.
func NewRouter(ns *os.File, uplink, bridge string) (*Router, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())), nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("the router's rules: %w", err)
	}
	return &Router{conn: conn, uplink: uplink, bridge: bridge}, nil
}

// Close lets go of the rules and leaves them in force.
func (r *Router) Close() error { return r.conn.CloseLasting() }

// Apply makes the rules match what is wanted, in one transaction: between the old
// rules and the new there is nothing. The first one writes everything anew, a later
// one what is in the sets, in time that grows with the number of ports only by
// their elements.
func (r *Router) Apply(w network.Wanted) error {
	if r.subnets != w.Subnets {
		if err := r.write(w.Subnets); err != nil {
			r.subnets = network.Subnets{}
			return fmt.Errorf("the router's rules: %w", err)
		}
	}
	e := elements(w)
	for _, s := range []struct {
		set      *nftables.Set
		elements []nftables.SetElement
	}{
		{r.sets.closed4, e.closed4}, {r.sets.closed6, e.closed6},
		{r.sets.internet4, e.internet4}, {r.sets.internet6, e.internet6},
		{r.sets.owners, e.owners}, {r.sets.owners4, e.owners4}, {r.sets.owners6, e.owners6},
	} {
		r.conn.FlushSet(s.set)
		if len(s.elements) == 0 {
			continue
		}
		if err := r.conn.SetAddElements(s.set, s.elements); err != nil {
			return fmt.Errorf("the router's set %s: %w", s.set.Name, err)
		}
	}
	if err := r.conn.Flush(); err != nil {
		r.subnets = network.Subnets{} // whatever went wrong: all anew next time
		return fmt.Errorf("the router's rules: %w", err)
	}
	r.subnets = w.Subnets
	return nil
}

type setElements struct {
	closed4, closed6         []nftables.SetElement
	internet4, internet6     []nftables.SetElement
	owners, owners4, owners6 []nftables.SetElement
}

func elements(w network.Wanted) setElements {
	e := setElements{closed4: intervals(w.Outside.Closed4), closed6: intervals(w.Outside.Closed6)}
	for _, p := range w.Ports {
		owner := append(linkName(p.Link), append([]byte(p.MAC), 0, 0)...)
		with := func(a netip.Addr) nftables.SetElement {
			return nftables.SetElement{Key: append(append([]byte{}, owner...), a.AsSlice()...)}
		}
		e.owners = append(e.owners, nftables.SetElement{Key: owner})
		e.owners4 = append(e.owners4, with(p.Address4))
		e.owners6 = append(e.owners6, with(p.Address6), with(network.LinkLocal(p.MAC)))
		if p.Policy == api.Internet {
			e.internet4 = append(e.internet4, nftables.SetElement{Key: p.Address4.AsSlice()})
			e.internet6 = append(e.internet6, nftables.SetElement{Key: p.Address6.AsSlice()})
		}
	}
	return e
}

// write queues both tables anew, without elements.
func (r *Router) write(s network.Subnets) error {
	if err := r.writeInet(s); err != nil {
		return err
	}
	return r.writeBridge()
}

func (r *Router) fresh(f nftables.TableFamily) *nftables.Table {
	t := &nftables.Table{Family: f, Name: TableName}
	r.conn.AddTable(t) // so that there is one to delete
	r.conn.DelTable(t)
	return r.conn.AddTable(t)
}

// hooked adds a base chain that drops what no rule of it accepts.
func hooked(c *nftables.Conn, t *nftables.Table, name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...match) {
	policy := nftables.ChainPolicyDrop
	chain := c.AddChain(&nftables.Chain{
		Table: t, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: priority, Policy: &policy})
	return adder(c, t, chain)
}

func plain(c *nftables.Conn, t *nftables.Table, name string) func(...match) {
	return adder(c, t, c.AddChain(&nftables.Chain{Table: t, Name: name}))
}

func adder(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain) func(...match) {
	return func(parts ...match) { c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: join(parts...)}) }
}

// ICMP's numbers (RFC 792) and ICMPv6's (RFC 4443, RFC 4861, RFC 3810).
const (
	echo4, echo6                        = 8, 128
	unreachable4, exceeded4, parameter4 = 3, 11, 12
	unreachable6, tooBig6               = 1, 2
	exceeded6, parameter6               = 3, 4
	routerSolicitation                  = 133
	routerAdvertisement                 = 134
	neighborSolicitation                = 135
	neighborAdvertisement               = 136
	redirect6                           = 137
	listenerReport                      = 143
)

func (r *Router) writeInet(s network.Subnets) error {
	t := r.fresh(nftables.TableFamilyINet)
	set := func(name string, kind nftables.SetDatatype, interval bool) (*nftables.Set, error) {
		set := &nftables.Set{Table: t, Name: name, KeyType: kind, Interval: interval}
		return set, r.conn.AddSet(set, nil)
	}
	var err error
	for _, n := range []struct {
		to       **nftables.Set
		name     string
		kind     nftables.SetDatatype
		interval bool
	}{
		{&r.sets.closed4, "closed4", nftables.TypeIPAddr, true},
		{&r.sets.closed6, "closed6", nftables.TypeIP6Addr, true},
		{&r.sets.internet4, "internet4", nftables.TypeIPAddr, false},
		{&r.sets.internet6, "internet6", nftables.TypeIP6Addr, false},
	} {
		if *n.to, err = set(n.name, n.kind, n.interval); err != nil {
			return err
		}
	}
	var flows [2]*nftables.Set
	for i, kind := range []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeIP6Addr} {
		flows[i] = &nftables.Set{Table: t, Name: fmt.Sprintf("flows%d", 4+2*i), KeyType: kind, Dynamic: true, Size: 65535}
		if err := r.conn.AddSet(flows[i], nil); err != nil {
			return err
		}
	}

	refuse := plain(r.conn, t, "refuse")
	refuse(protocol(unix.IPPROTO_TCP), refuseTCP())
	refuse(prohibited())

	// Through the router. Where a packet of a container's goes is looked at each
	// time, not only when its connection began: a network that has just come up on
	// the host is closed at once.
	outbound := plain(r.conn, t, "outbound")
	outbound(state(established), answering(), accept()) // to the host, which alone can begin
	outbound(ip4.destIs(s.Link4()), protocol(ip4.icmp), state(related), accept())
	outbound(ip6.destIs(s.Link6()), protocol(ip6.icmp), state(related), accept())
	outbound(ip4.destIn(r.sets.closed4), jump("refuse"))
	outbound(ip6.destIn(r.sets.closed6), jump("refuse"))
	outbound(ip4.sourceNotIn(r.sets.internet4), jump("refuse"))
	outbound(ip6.sourceNotIn(r.sets.internet6), jump("refuse"))
	outbound(state(invalid), drop())
	outbound(state(established), accept())
	outbound(state(related), protocol(ip4.icmp), accept())
	outbound(state(related), protocol(ip6.icmp), accept())
	for i, f := range []family{ip4, ip6} {
		outbound(state(fresh), f.any(), match{load(netHeader, f.source, f.length, first)}, match{&expr.Dynset{
			SrcRegKey: first, SetName: flows[i].Name, SetID: flows[i].ID, Operation: unix.NFT_DYNSET_OP_ADD,
			Exprs: []expr.Any{&expr.Connlimit{Count: FlowLimit, Flags: expr.NFT_CONNLIMIT_F_INV}},
		}}, jump("refuse"))
	}
	outbound(state(fresh), accept())
	outbound(drop())

	inbound := plain(r.conn, t, "inbound")
	inbound(ip4.sourceWithin(s.V4), ip4.sourceIsNot(s.Link4()), drop())
	inbound(ip6.sourceWithin(s.V6), ip6.sourceIsNot(s.Link6()), drop())
	inbound(state(established), accept())
	inbound(state(related), protocol(ip4.icmp), accept()) // errors; no helper opens anything
	inbound(state(related), protocol(ip6.icmp), accept())
	inbound(ip4.sourceIs(s.Link4()), state(fresh), accept()) // the host's own
	inbound(ip6.sourceIs(s.Link6()), state(fresh), accept())
	inbound(drop())

	forward := hooked(r.conn, t, "forward", nftables.ChainHookForward, nftables.ChainPriorityFilter)
	forward(from(r.bridge), to(r.uplink), jump("outbound"))
	forward(from(r.uplink), to(r.bridge), jump("inbound"))
	forward(drop()) // the bridge's ports among themselves, the routed way round

	// To the router: DHCP, DNS, echo to the gateway, neighbour discovery.
	services := plain(r.conn, t, "services")
	services(state(established), accept())
	services(state(related), protocol(ip4.icmp), accept())
	services(state(related), protocol(ip6.icmp), accept())
	for _, d := range []struct {
		f    family
		echo byte
		at   netip.Addr
	}{{ip4, echo4, s.Gateway4()}, {ip6, echo6, s.Gateway6()}} {
		services(d.f.destIs(d.at), d.f.icmpType(d.echo), accept())
		services(d.f.destIs(d.at), protocol(unix.IPPROTO_UDP), destPort(53), accept())
		services(d.f.destIs(d.at), protocol(unix.IPPROTO_TCP), destPort(53), accept())
	}

	input := hooked(r.conn, t, "input", nftables.ChainHookInput, nftables.ChainPriorityFilter)
	input(from("lo"), accept())
	input(from(r.uplink), ip4.sourceIs(s.Link4()), jump("services"))
	input(from(r.uplink), ip6.sourceIs(s.Link6()), jump("services"))
	input(from(r.uplink), drop())
	input(from(r.bridge), jump("services"))
	input(from(r.bridge), ip4.any(), protocol(unix.IPPROTO_UDP), sourcePort(68), destPort(67), accept())
	for _, kind := range []byte{routerSolicitation, neighborSolicitation, neighborAdvertisement} {
		input(from(r.bridge), ip6.any(), ip6.icmpType(kind), accept())
	}
	input(from(r.bridge), jump("refuse"))

	output := hooked(r.conn, t, "output", nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	output(to("lo"), accept())
	output(state(established), accept())
	output(state(related), accept())
	for _, kind := range []byte{unreachable4, exceeded4, parameter4} {
		output(ip4.any(), ip4.icmpType(kind), accept())
	}
	for _, kind := range []byte{unreachable6, tooBig6, exceeded6, parameter6} {
		output(ip6.any(), ip6.icmpType(kind), accept())
	}
	for _, kind := range []byte{routerAdvertisement, neighborSolicitation, neighborAdvertisement} {
		output(to(r.bridge), ip6.any(), ip6.icmpType(kind), accept())
	}
	output(to(r.bridge), ip4.any(), protocol(unix.IPPROTO_UDP), sourcePort(67), destPort(68), accept())
	output(drop())
	return nil
}

// Ethernet's numbers of what is inside a frame.
const (
	etherIP4 = 0x0800
	etherARP = 0x0806
	etherIP6 = 0x86dd
)

// writeBridge pins each port to its hardware address and addresses, in frames, in
// ARP and in neighbour discovery, before the bridge looks at them.
func (r *Router) writeBridge() error {
	t := r.fresh(nftables.TableFamilyBridge)
	set := func(name string, kinds ...nftables.SetDatatype) (*nftables.Set, error) {
		kind, err := nftables.ConcatSetType(kinds...)
		if err != nil {
			return nil, err
		}
		set := &nftables.Set{Table: t, Name: name, KeyType: kind, Concatenation: true}
		return set, r.conn.AddSet(set, nil)
	}
	var err error
	if r.sets.owners, err = set("owners", nftables.TypeIFName, nftables.TypeEtherAddr); err != nil {
		return err
	}
	if r.sets.owners4, err = set("owners4", nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIPAddr); err != nil {
		return err
	}
	if r.sets.owners6, err = set("owners6", nftables.TypeIFName, nftables.TypeEtherAddr, nftables.TypeIP6Addr); err != nil {
		return err
	}
	port := meta(expr.MetaKeyIIFNAME, first)
	sender := load(linkHeader, 6, 6, afterName)
	kind := func(number uint16) match { return match{load(linkHeader, 12, 2, first), equal(big16(number))} }

	in4 := plain(r.conn, t, "ip4")
	in4(kind(etherIP4), match{port, sender, load(netHeader, ip4.source, 4, afterEther), in(r.sets.owners4)}, accept())
	in4(kind(etherIP4), match{load(netHeader, ip4.source, 4, first), equal(make([]byte, 4))},
		match{load(netHeader, ip4.dest, 4, first), equal([]byte{255, 255, 255, 255})},
		protocol(unix.IPPROTO_UDP), sourcePort(68), destPort(67), accept()) // DHCP, before there is an address
	in4(drop())

	// ARP says twice who speaks (RFC 826): what it says inside counts for those who
	// hear it. A probe comes from no address (RFC 5227).
	arp := plain(r.conn, t, "arp")
	inside := load(netHeader, 8, 6, afterName)
	arp(kind(etherARP), match{port, inside, load(netHeader, 14, 4, afterEther), in(r.sets.owners4)}, accept())
	arp(kind(etherARP), match{port, inside, in(r.sets.owners)}, match{load(netHeader, 14, 4, first), equal(make([]byte, 4))}, accept())
	arp(drop())

	in6 := plain(r.conn, t, "ip6")
	in6(kind(etherIP6), ip6.icmpType(routerAdvertisement), drop())
	in6(kind(etherIP6), ip6.icmpType(redirect6), drop())
	in6(kind(etherIP6), match{port, sender, load(netHeader, ip6.source, 16, afterEther), in(r.sets.owners6)}, accept())
	for _, number := range []byte{routerSolicitation, neighborSolicitation, listenerReport} {
		in6(kind(etherIP6), match{load(netHeader, ip6.source, 16, first), equal(make([]byte, 16))}, ip6.icmpType(number), accept())
	}
	in6(drop())

	ports := hooked(r.conn, t, "prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	ports(match{port, sender, notIn(r.sets.owners)}, drop())
	ports(kind(etherIP4), jump("ip4"))
	ports(kind(etherARP), jump("arp"))
	ports(kind(etherIP6), jump("ip6"))
	ports(drop())
	return nil
}
