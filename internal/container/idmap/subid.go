package idmap

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Range is Count ids from Start on.
type Range struct {
	Start uint32 `json:"start"`
	Count uint32 `json:"count"`
}

// End is the first id behind the range, as 64 bits: a range may reach the end of
// 32.
func (r Range) End() uint64 { return uint64(r.Start) + uint64(r.Count) }

// Overlaps says whether an id is in both ranges.
func (r Range) Overlaps(o Range) bool {
	return uint64(r.Start) < o.End() && uint64(o.Start) < r.End()
}

// Contains says whether all of o is in r.
func (r Range) Contains(o Range) bool { return r.Start <= o.Start && o.End() <= r.End() }

func (r Range) String() string { return fmt.Sprintf("%d-%d", r.Start, max(r.End(), 1)-1) }

// maxID is the last id there is: -1 means no id to the kernel (user_namespaces(7)).
const maxID = math.MaxUint32 - 1

// A Delegation is one line of subuid(5) or subgid(5): ids that a user may use.
type Delegation struct {
	User  string // name or number, as written
	Range Range
}

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 4 << 20

// Parse reads subuid(5) or subgid(5): lines of user:start:count. Lines that are
// no such thing are skipped, as shadow's own programs do, and returned as
// complaints; a file over [MaxSize] is an error, for what is not read might
// overlap. A range that runs over the last id is cut there.
func Parse(file []byte) (all []Delegation, complaints []error, err error) {
	if len(file) > MaxSize {
		return nil, nil, fmt.Errorf("%d bytes are too large; at most %d are read", len(file), MaxSize)
	}
	number := 0
	for line := range bytes.Lines(file) {
		number++
		text := strings.TrimRight(string(line), "\r\n")
		if t := strings.TrimSpace(text); t == "" || t[0] == '#' {
			continue
		}
		d, why := parseLine(text)
		if why != "" {
			if len(complaints) < 20 {
				complaints = append(complaints, fmt.Errorf("line %d: %s: %.60q", number, why, text))
			}
			continue
		}
		all = append(all, d)
	}
	return all, complaints, nil
}

func parseLine(line string) (Delegation, string) {
	fields := strings.Split(line, ":")
	if len(fields) != 3 {
		return Delegation{}, "not user:start:count"
	}
	if fields[0] == "" || strings.TrimSpace(fields[0]) != fields[0] {
		return Delegation{}, "no user"
	}
	start, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil || start > maxID {
		return Delegation{}, "the start is no id"
	}
	count, err := strconv.ParseUint(fields[2], 10, 64)
	if err != nil || count == 0 {
		return Delegation{}, "the count is no number of ids"
	}
	count = min(count, maxID-start+1)
	return Delegation{fields[0], Range{uint32(start), uint32(count)}}, ""
}

// Of returns the ranges of one user, found by name or by number, sorted and with
// neighbours joined.
func Of(all []Delegation, user string, id uint32) []Range {
	var own []Range
	for _, d := range all {
		if d.User == user || d.User == strconv.FormatUint(uint64(id), 10) {
			own = append(own, d.Range)
		}
	}
	return join(own)
}

// Others returns the ranges of everybody else.
func Others(all []Delegation, user string, id uint32) []Range {
	var other []Range
	for _, d := range all {
		if d.User != user && d.User != strconv.FormatUint(uint64(id), 10) {
			other = append(other, d.Range)
		}
	}
	return join(other)
}

// join sorts ranges and makes one of those that touch.
func join(ranges []Range) []Range {
	ranges = slices.Clone(ranges)
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var out []Range
	for _, r := range ranges {
		if r.Count == 0 {
			continue
		}
		if n := len(out); n > 0 && uint64(r.Start) <= out[n-1].End() {
			out[n-1].Count = uint32(max(out[n-1].End(), r.End()) - uint64(out[n-1].Start))
			continue
		}
		out = append(out, r)
	}
	return out
}

// Common returns the ids that are in both lists. A container has one range for
// uids and gids, so that is what root's subuids and subgids offer.
func Common(a, b []Range) []Range {
	a, b = join(a), join(b)
	var out []Range
	for i, j := 0, 0; i < len(a) && j < len(b); {
		start, end := max(a[i].Start, b[j].Start), min(a[i].End(), b[j].End())
		if uint64(start) < end {
			out = append(out, Range{start, uint32(end - uint64(start))})
		}
		if a[i].End() < b[j].End() {
			i++
		} else {
			j++
		}
	}
	return out
}

// subtract returns what of ranges is in none of the taken ones.
func subtract(ranges, taken []Range) []Range {
	taken = join(taken)
	var out []Range
	for _, r := range join(ranges) {
		at := uint64(r.Start)
		for _, t := range taken {
			if !t.Overlaps(r) {
				continue
			}
			if uint64(t.Start) > at {
				out = append(out, Range{uint32(at), uint32(uint64(t.Start) - at)})
			}
			at = max(at, t.End())
		}
		if at < r.End() {
			out = append(out, Range{uint32(at), uint32(r.End() - at)})
		}
	}
	return out
}

// Size is how many ids a container has at least: all that a 16-bit uid can say,
// nobody (65534) included.
const Size = 1 << 16

// Count returns how many ids of the host a container of this person needs:
// [Size], and one more where an id of the person's own is beyond, as directories
// of large companies give them.
func Count(uid, gid uint32) uint32 {
	if uid >= Size || gid >= Size {
		return Size + 1
	}
	return Size
}

// Allocate returns a range of count ids from what is offered that overlaps none
// of the taken ones (the ranges of other containers, of other users, and real
// users' own ids). It takes the first that begins at a multiple of [Size], else
// the first there is.
func Allocate(offered, taken []Range, count uint32) (Range, error) {
	free := subtract(offered, taken)
	for _, aligned := range []bool{true, false} {
		for _, f := range free {
			start := uint64(f.Start)
			if aligned {
				start = (start + Size - 1) / Size * Size
			}
			if start+uint64(count) <= min(f.End(), maxID+1) {
				return Range{uint32(start), count}, nil
			}
		}
	}
	var left uint64
	for _, f := range free {
		left += uint64(f.Count)
	}
	return Range{}, fmt.Errorf("no %d ids in a row are free for a container: root's ranges in /etc/subuid and /etc/subgid have %d free; remove a container, or give root a larger range with 'hutch doctor --fix'", count, left)
}
