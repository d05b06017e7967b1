package firewall

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
)

// A HostState is what the host's table is computed from.
type HostState struct {
	Subnets network.Subnets
	Outside network.Outside
	// Interfaces that forward only because of hutch. All6 stands for every one.
	Guard4, Guard6 []string
	GuardAll6      bool
}

// A Host holds the rules on the host, in the namespace of the process. It is not
// safe for use by several goroutines at once.
type Host struct {
	conn    *nftables.Conn
	applied HostState
	handles map[string][]uint64 // of the rules as they were written, by chain
}

// NewHost makes rules on the host.
func NewHost() (*Host, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("the host's rules: %w", err)
	}
	return &Host{conn: conn}, nil
}

// Close lets go of the rules and leaves them in force.
func (h *Host) Close() error { return h.conn.CloseLasting() }

var hostTable = &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}

// checkedChains are those that intact compares. The library can not read the
// rules of the chain "nexthop" back.
var checkedChains = []string{"forward", "input", "postrouting"}

// Apply writes the table, where it is not what it was the last time or something
// else is wanted now, and says whether it did.
func (h *Host) Apply(s HostState) (bool, error) {
	wrote := false
	if !equalStates(s, h.applied) || !h.intact() {
		if err := h.write(s); err != nil {
			return false, fmt.Errorf("the host's rules: %w", err)
		}
		h.applied, h.handles = s, h.read()
		wrote = true
	}
	return wrote, h.answerOthers()
}

func equalStates(a, b HostState) bool {
	return a.Subnets == b.Subnets && slices.Equal(a.Outside.Uplinks4, b.Outside.Uplinks4) &&
		slices.Equal(a.Outside.Uplinks6, b.Outside.Uplinks6) &&
		slices.Equal(a.Outside.Direct4, b.Outside.Direct4) && slices.Equal(a.Outside.Direct6, b.Outside.Direct6) &&
		slices.Equal(a.Outside.Gateways4, b.Outside.Gateways4) && slices.Equal(a.Outside.Gateways6, b.Outside.Gateways6) &&
		slices.Equal(a.Guard4, b.Guard4) && slices.Equal(a.Guard6, b.Guard6) && a.GuardAll6 == b.GuardAll6
}

// read returns the handles of the table's rules; each change of a rule gives it
// another one.
func (h *Host) read() map[string][]uint64 {
	handles := map[string][]uint64{}
	for _, name := range checkedChains {
		rules, err := h.conn.GetRules(hostTable, &nftables.Chain{Table: hostTable, Name: name})
		if err != nil {
			return nil
		}
		for _, r := range rules {
			handles[name] = append(handles[name], r.Handle)
		}
	}
	return handles
}

func (h *Host) intact() bool {
	now := h.read()
	for _, name := range checkedChains {
		if len(now[name]) == 0 || !slices.Equal(now[name], h.handles[name]) {
			return false
		}
	}
	return true
}

func (h *Host) write(s HostState) error {
	c, t := h.conn, hostTable
	c.AddTable(t)
	c.DelTable(t)
	c.AddTable(t)
	set := func(name string, kind nftables.SetDatatype, elements []nftables.SetElement) *nftables.Set {
		set := &nftables.Set{Table: t, Name: name, KeyType: kind}
		if kind == nftables.TypeIFName {
			set.KeyByteOrder = binaryutil.NativeEndian // or nft shows them empty
		}
		if err := c.AddSet(set, elements); err != nil {
			panic(err) // only a set of a bad type has one
		}
		return set
	}
	without := func(all, some []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
	}
	link := network.LinkName
	policy := nftables.ChainPolicyAccept
	// Before the host's own filters, whose accept would not be final for ours but
	// whose drop would be for them.
	early := nftables.ChainPriorityRef(-10)
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...match) {
		return adder(c, t, c.AddChain(&nftables.Chain{Table: t, Name: name, Type: kind, Hooknum: hook, Priority: priority, Policy: &policy}))
	}
	type side struct {
		f        family
		number   string
		key      expr.RtKey
		subnet   match
		uplinks  *nftables.Set
		checked  *nftables.Set // uplinks that have gateways
		gateways *nftables.Set
		guarded  *nftables.Set
	}
	sides := []side{
		{ip4, "4", expr.RtNexthop4, ip4.sourceOutside(s.Subnets.V4),
			set("uplinks4", nftables.TypeIFName, linkElements(s.Outside.Uplinks4)),
			set("checked4", nftables.TypeIFName, linkElements(without(s.Outside.Uplinks4, s.Outside.Direct4))),
			set("gateways4", nftables.TypeIPAddr, addressElements(s.Outside.Gateways4)),
			set("guarded4", nftables.TypeIFName, linkElements(s.Guard4))},
		{ip6, "6", expr.RtNexthop6, ip6.sourceOutside(s.Subnets.V6),
			set("uplinks6", nftables.TypeIFName, linkElements(s.Outside.Uplinks6)),
			set("checked6", nftables.TypeIFName, linkElements(without(s.Outside.Uplinks6, s.Outside.Direct6))),
			set("gateways6", nftables.TypeIP6Addr, addressElements(s.Outside.Gateways6)),
			set("guarded6", nftables.TypeIFName, linkElements(s.Guard6))},
	}

	// An on-link network that has just come up on an uplink is no way out, even in
	// the moment before the router knows.
	nexthop := plain(c, t, "nexthop")
	for _, d := range sides {
		nexthop(d.f.any(), toOneOf(d.checked), match{&expr.Rt{Register: first, Key: d.key}, notIn(d.gateways)}, drop())
	}

	forward := base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, early)
	forward(from(link), translated(), drop())
	for _, d := range sides {
		forward(from(link), d.subnet, drop())
		forward(from(link), d.f.any(), toNoneOf(d.uplinks), drop())
	}
	forward(from(link), jump("nexthop"))
	forward(from(link), accept())
	forward(to(link), state(established), accept())
	forward(to(link), state(related), protocol(ip4.icmp), accept())
	forward(to(link), state(related), protocol(ip6.icmp), accept())
	forward(to(link), drop())
	for _, d := range sides {
		forward(d.f.any(), fromOneOf(d.guarded), drop()) // the workstation is no router for others
	}
	if s.GuardAll6 {
		forward(ip6.any(), drop())
	}

	input := base("input", nftables.ChainTypeFilter, nftables.ChainHookInput, early)
	input(from(link), translated(), drop())
	input(from(link), state(established), answering(), accept())
	input(from(link), state(related), protocol(ip4.icmp), accept())
	input(from(link), state(related), protocol(ip6.icmp), accept())
	input(from(link), drop())

	postrouting := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	postrouting(ip4.sourceWithin(s.Subnets.V4), toOneOf(sides[0].uplinks), match{&expr.Masq{}})
	postrouting(ip6.sourceWithin(s.Subnets.V6), toOneOf(sides[1].uplinks), match{&expr.Masq{}})
	return c.Flush()
}

// others are chains that other programs keep for such rules as ours, before they
// drop what they do not know.
var others = []struct {
	family nftables.TableFamily
	chain  string
}{
	{nftables.TableFamilyIPv4, "DOCKER-USER"},
	{nftables.TableFamilyIPv6, "DOCKER-USER"},
	{nftables.TableFamilyIPv4, "ufw-user-forward"},
	{nftables.TableFamilyIPv6, "ufw6-user-forward"},
}

// mark is what hutch's rules in others' chains are known by.
var mark = []byte("hutch")

// answerOthers sees to it that our packets pass the filters of Docker and ufw.
// What may pass is decided in our own table, before theirs.
func (h *Host) answerOthers() error {
	return h.inOthers(func(chain *nftables.Chain, ours []*nftables.Rule) {
		if len(ours) == 2 {
			return
		}
		for _, r := range ours {
			h.conn.DelRule(r)
		}
		for _, way := range []match{to(network.LinkName), from(network.LinkName)} {
			h.conn.InsertRule(&nftables.Rule{Table: chain.Table, Chain: chain, UserData: mark, Exprs: join(way, accept())})
		}
	})
}

func (h *Host) inOthers(f func(*nftables.Chain, []*nftables.Rule)) error {
	for _, o := range others {
		chains, err := h.conn.ListChainsOfTableFamily(o.family)
		if err != nil {
			return fmt.Errorf("read the host's rules: %w", err)
		}
		for _, chain := range chains {
			if chain.Name != o.chain || chain.Table.Name != "filter" {
				continue
			}
			rules, err := h.conn.GetRules(chain.Table, chain)
			if err != nil {
				return fmt.Errorf("read the host's chain %s: %w", chain.Name, err)
			}
			f(chain, slices.DeleteFunc(rules, func(r *nftables.Rule) bool { return string(r.UserData) != string(mark) }))
		}
	}
	if err := h.conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("answer the host's own firewall: %w", err)
	}
	return nil
}

// Remove takes all that hutch has written on the host away; what is not there is
// no error.
func (h *Host) Remove() error {
	h.applied, h.handles = HostState{}, nil
	err := h.inOthers(func(_ *nftables.Chain, ours []*nftables.Rule) {
		for _, r := range ours {
			h.conn.DelRule(r)
		}
	})
	h.conn.AddTable(hostTable)
	h.conn.DelTable(hostTable)
	return errors.Join(err, h.conn.Flush())
}
