package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
)

// The priorities of hutch's routing rules; by them they are known again.
const (
	passPriority = 14110
	holdPriority = 14111
)

// EnsureGuard makes the routing rules that keep the guarded interfaces from
// forwarding for anybody but containers. Unlike nftables rules nobody flushes them
// by the way. Packets to the host itself have found their way before (the table
// "local" has priority 0); those of the host's own have no incoming interface.
func EnsureGuard(g Guard, s network.Subnets) error {
	var failures []error
	for _, f := range []struct {
		family int
		links  []string
		subnet netip.Prefix
	}{{netlink.FAMILY_V4, g.Links4, s.V4}, {netlink.FAMILY_V6, g.Links6, s.V6}} {
		to := &net.IPNet{IP: f.subnet.Addr().AsSlice(), Mask: net.CIDRMask(f.subnet.Bits(), f.subnet.Addr().BitLen())}
		var wanted []*netlink.Rule
		for _, link := range f.links {
			pass, hold := netlink.NewRule(), netlink.NewRule()
			pass.Family, pass.Priority, pass.IifName, pass.Dst, pass.Table = f.family, passPriority, link, to, unix.RT_TABLE_MAIN
			hold.Family, hold.Priority, hold.IifName, hold.Type = f.family, holdPriority, link, unix.FR_ACT_BLACKHOLE
			wanted = append(wanted, pass, hold)
		}
		have, err := ours(f.family)
		if err != nil {
			return err
		}
		for _, h := range have {
			keep := false
			for i, w := range wanted {
				if w != nil && same(*w, h) {
					wanted[i], keep = nil, true
					break
				}
			}
			if !keep {
				failures = append(failures, netlink.RuleDel(&h))
			}
		}
		for _, w := range wanted {
			if w != nil {
				failures = append(failures, netlink.RuleAdd(w))
			}
		}
	}
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("the host's routing rules: %w", err)
	}
	return nil
}

// RemoveGuard takes the routing rules away.
func RemoveGuard() error { return EnsureGuard(Guard{}, network.Subnets{}) }

func ours(family int) ([]netlink.Rule, error) {
	all, err := netlink.RuleList(family)
	if err != nil {
		return nil, fmt.Errorf("the host's routing rules: %w", err)
	}
	var list []netlink.Rule
	for _, r := range all {
		if r.IifName != "" && (r.Priority == passPriority || r.Priority == holdPriority) {
			r.Family = family
			list = append(list, r)
		}
	}
	return list, nil
}

func same(a, b netlink.Rule) bool {
	dst := func(n *net.IPNet) string {
		if n == nil {
			return ""
		}
		return n.String()
	}
	return a.Priority == b.Priority && a.IifName == b.IifName && dst(a.Dst) == dst(b.Dst)
}
