package network

import (
	"net/netip"
	"slices"
)

// A Range is all addresses from First to Last, both included, of one family.
type Range struct {
	First netip.Addr `json:"first"`
	Last  netip.Addr `json:"last"`
}

// Contains says whether the address is in the range.
func (r Range) Contains(a netip.Addr) bool { return !a.Less(r.First) && !r.Last.Less(a) }

// Ranges merges prefixes of one family into the fewest ranges, sorted and apart.
func Ranges(list []netip.Prefix) []Range {
	all := make([]Range, 0, len(list))
	for _, p := range list {
		all = append(all, Range{p.Masked().Addr(), last(p)})
	}
	slices.SortFunc(all, func(a, b Range) int { return a.First.Compare(b.First) })
	var merged []Range
	for _, r := range all {
		if n := len(merged); n > 0 {
			end := merged[n-1].Last
			if next := end.Next(); !next.IsValid() || !next.Less(r.First) {
				if end.Less(r.Last) {
					merged[n-1].Last = r.Last
				}
				continue
			}
		}
		merged = append(merged, r)
	}
	return merged
}

func last(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(a)*8; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(a)
	return addr
}
