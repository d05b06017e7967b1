package idmap

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// windows are where ranges for containers are looked for, the best first. All are
// free of ordinary users and of useradd's own delegations, and below 2^31, above
// which programs take ids for negative (systemd, docs/UIDS-GIDS.md).
var windows = []Range{
	between(2000224256, 2147352576), // beyond SSSD's default range and systemd's containers, below systemd's foreign ids
	between(1879048192, 2147352576), // beyond systemd's containers
	between(1000013824, 1879048192),
	between(600113152, 1000013824), // beyond SUB_UID_MAX of login.defs(5)
	between(1<<20, 600113152),
}

func between(start, end uint32) Range { return Range{start, end - start} }

// Files are subuid(5) and subgid(5) as they should be.
type Files struct {
	SubUID, SubGID []byte
	Added          string // the line that is new in both, to be kept for the way back; empty where nothing changed
	Range          Range  // the range of that line
}

// EnsureRange gives user (of that id) a range for containers, the same in subuid
// and subgid, unless what the user has offers room for count ids already. taken
// are ids that are in use otherwise: real accounts (see [Accounts]) and
// containers. The new range overlaps nobody, and has room for as many containers
// as there can be, two thousand mostly.
func EnsureRange(subuid, subgid []byte, user string, id uint32, taken []Range, count uint32) (Files, error) {
	same := Files{SubUID: subuid, SubGID: subgid}
	uids, _, err := Parse(subuid)
	if err != nil {
		return same, fmt.Errorf("/etc/subuid: %w", err)
	}
	gids, _, err := Parse(subgid)
	if err != nil {
		return same, fmt.Errorf("/etc/subgid: %w", err)
	}
	if _, err := Allocate(Offered(uids, gids, user, id), taken, count); err == nil {
		return same, nil
	}
	used := slices.Clone(taken)
	for _, d := range slices.Concat(uids, gids) {
		used = append(used, d.Range)
	}
	for _, w := range windows {
		var best Range
		for _, f := range subtract([]Range{w}, used) {
			start := (uint64(f.Start) + Size - 1) / Size * Size
			if end := f.End() / Size * Size; end > start && end-start > uint64(best.Count) {
				best = Range{uint32(start), uint32(end - start)}
			}
		}
		if best.Count < max(count, 64*Size) && w != windows[len(windows)-1] || best.Count < count {
			continue
		}
		line := user + ":" + strconv.FormatUint(uint64(best.Start), 10) + ":" + strconv.FormatUint(uint64(best.Count), 10)
		return Files{appendLine(subuid, line), appendLine(subgid, line), line, best}, nil
	}
	return same, fmt.Errorf("no %d ids in a row below %d are free in /etc/subuid and /etc/subgid; take back a range that nobody needs", count, windows[0].End())
}

// Offered returns the ids that containers of a user may have: those that both
// files give that user, and give to nobody else in either.
func Offered(uids, gids []Delegation, user string, id uint32) []Range {
	others := slices.Concat(Others(uids, user, id), Others(gids, user, id))
	return subtract(Common(Of(uids, user, id), Of(gids, user, id)), others)
}

func appendLine(file []byte, line string) []byte {
	out := slices.Clone(file)
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return append(append(out, line...), '\n')
}

// RemoveLine is the way back of [EnsureRange] for one file: it takes the last
// line that is exactly the added one, and says whether there was one.
func RemoveLine(file []byte, added string) ([]byte, bool) {
	if added == "" {
		return file, false
	}
	lines := slices.Collect(bytes.Lines(file))
	for i, line := range slices.Backward(lines) {
		if string(bytes.TrimSuffix(line, []byte("\n"))) == added {
			return slices.Concat(slices.Delete(lines, i, i+1)...), true
		}
	}
	return file, false
}

// Recognize finds the line that [EnsureRange] has added where nobody has kept it: the
// one that it would add again. It returns "" where there is none.
func Recognize(subuid, subgid []byte, user string, id uint32, taken []Range, count uint32) string {
	for line := range strings.Lines(string(subuid)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, user+":") {
			continue
		}
		uids, _ := RemoveLine(subuid, line)
		gids, there := RemoveLine(subgid, line)
		if !there {
			continue
		}
		if files, err := EnsureRange(uids, gids, user, id, taken, count); err == nil && files.Added == line {
			return line
		}
	}
	return ""
}

// Accounts returns the ids of passwd(5) or group(5): real users' and groups',
// that no container may have. Lines that are none are skipped.
func Accounts(file []byte) []Range {
	var ids []Range
	for line := range bytes.Lines(file) {
		fields := strings.SplitN(string(line), ":", 4)
		if len(fields) < 4 {
			continue
		}
		if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil && id <= maxID {
			ids = append(ids, Range{uint32(id), 1})
		}
	}
	slices.SortFunc(ids, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	return slices.Compact(ids)
}
