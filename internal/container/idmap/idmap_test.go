package idmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/config"
)

func TestParseSkipsWhatIsNoLine(t *testing.T) {
	all, complaints, err := Parse([]byte("root:100000:65536\n\n# a comment\nann:165536:65536\r\n1001:231072:65536\n" +
		"broken\nx:1\nx:-1:5\nx:5:0\nx:99999999999:5\n:1:5\n bob:1:5\nx:1:2:3\nedge:4294967290:99999\nlast:7:1"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Delegation{{"root", Range{100000, 65536}}, {"ann", Range{165536, 65536}}, {"1001", Range{231072, 65536}},
		{"edge", Range{4294967290, 5}}, {"last", Range{7, 1}}}
	if !slices.Equal(all, want) {
		t.Errorf("got %v\nwant %v", all, want)
	}
	if len(complaints) != 8 {
		t.Errorf("%d complaints, want 8: %v", len(complaints), complaints)
	}
	if _, _, err := Parse(make([]byte, MaxSize+1)); err == nil {
		t.Error("a file over the limit was read")
	}
}

func TestOfferedIsRootsAloneInBothFiles(t *testing.T) {
	parse := func(s string) []Delegation {
		all, complaints, err := Parse([]byte(s))
		if err != nil || complaints != nil {
			t.Fatal(err, complaints)
		}
		return all
	}
	for _, test := range []struct{ name, subuid, subgid, want string }{
		{"the same in both", "root:100:50\n", "root:100:50\n", "[100-149]"},
		{"by number", "0:100:50\n", "root:100:50\n", "[100-149]"},
		{"neighbours are one", "root:100:50\nroot:150:50\n", "root:100:100\n", "[100-199]"},
		{"only what both give", "root:100:50\n", "root:120:50\n", "[120-149]"},
		{"none in one", "root:100:50\n", "ann:500:5\n", "[]"},
		{"another's part is not ours", "root:100:50\nann:110:10\n", "root:100:50\nbob:140:100\n", "[100-109 120-139]"},
		{"several", "root:300:10\nroot:100:10\n", "root:0:1000\n", "[100-109 300-309]"},
	} {
		if got := fmt.Sprint(Offered(parse(test.subuid), parse(test.subgid), "root", 0)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestAllocate(t *testing.T) {
	for _, test := range []struct {
		name           string
		offered, taken []Range
		count          uint32
		want           string
	}{
		{"the first", []Range{{1 << 20, 10 * Size}}, nil, Size, "1048576-1114111"},
		{"behind a taken one", []Range{{1 << 20, 10 * Size}}, []Range{{1 << 20, Size}}, Size, "1114112-1179647"},
		{"in a gap", []Range{{1 << 20, 10 * Size}}, []Range{{1<<20 + 2*Size, Size}, {1 << 20, Size}}, Size, "1114112-1179647"},
		{"around a user", []Range{{1 << 20, 10 * Size}}, []Range{{1<<20 + 7, 1}}, Size, "1114112-1179647"},
		{"useradd's odd start", []Range{{100000, Size}}, nil, Size, "100000-165535"},
		{"aligned where there is room", []Range{{100000, 3 * Size}}, nil, Size, "131072-196607"},
		{"one more than that", []Range{{1 << 20, 3 * Size}}, nil, Size + 1, "1048576-1114112"},
		{"too few", []Range{{1 << 20, Size - 1}}, nil, Size, "no 65536 ids in a row are free"},
		{"only in pieces", []Range{{1 << 20, Size}}, []Range{{1<<20 + 100, 1}}, Size, "have 65535 free"},
		{"nothing", nil, nil, Size, "have 0 free"},
		{"up to the last id", []Range{{4294901760 - 1, Size}}, nil, Size, "4294901759-4294967294"},
	} {
		got, err := Allocate(test.offered, test.taken, test.count)
		if err != nil {
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %s", test.name, err, test.want)
			}
			continue
		}
		if got.String() != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestAllocatedRangesAreDisjoint(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var offered, taken []Range
		for range 1 + random.IntN(4) {
			offered = append(offered, Range{random.Uint32(), random.Uint32N(40 * Size)})
		}
		for range random.IntN(6) {
			taken = append(taken, Range{offered[0].Start + random.Uint32N(20*Size), random.Uint32N(3 * Size)})
		}
		for {
			r, err := Allocate(offered, taken, Size+random.Uint32N(2))
			if err != nil {
				break
			}
			if !slices.ContainsFunc(join(offered), func(o Range) bool { return o.Contains(r) }) {
				t.Fatalf("%s is not in %v", r, offered)
			}
			if i := slices.IndexFunc(taken, r.Overlaps); i >= 0 && taken[i].Count > 0 {
				t.Fatalf("%s overlaps %s", r, taken[i])
			}
			taken = append(taken, r)
		}
	}
}

func TestEnsureRange(t *testing.T) {
	const preferred = "root:2000224256:147128320"
	for _, test := range []struct {
		name, subuid, subgid string
		taken                []Range
		added                string
	}{
		{"empty files", "", "", nil, preferred},
		{"Debian's", "ann:100000:65536\n", "ann:100000:65536\n", nil, preferred},
		{"no line break at the end", "ann:100000:65536", "ann:100000:65536\n", nil, preferred},
		{"root has enough", "root:1000000:1000000000\n", "root:1000000:1000000000\n", nil, ""},
		{"root's range is used up", "root:100000:65536\n", "root:100000:65536\n", []Range{{100000, Size}}, preferred},
		{"root has uids only", "root:1000000:1000000000\n", "", nil, preferred},
		{"a user in the middle", "", "", []Range{{2100000000, 1}}, "root:2000224256:99745792"},
		{"somebody has that", "ann:2000224256:147128320\n", "", nil, "root:1879048192:121176064"},
		{"somebody has all but one window", "ann:1000013824:1200000000\n", "", nil, "root:600113152:399900672"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, err := EnsureRange([]byte(test.subuid), []byte(test.subgid), "root", 0, test.taken, Size)
			if err != nil {
				t.Fatal(err)
			}
			if files.Added != test.added {
				t.Fatalf("added %q, want %q", files.Added, test.added)
			}
			again, err := EnsureRange(files.SubUID, files.SubGID, "root", 0, test.taken, Size)
			if err != nil || again.Added != "" {
				t.Errorf("a second time: %q, %v", again.Added, err)
			}
			uids, complaints, _ := Parse(files.SubUID)
			gids, _, _ := Parse(files.SubGID)
			if complaints != nil {
				t.Errorf("complaints: %v", complaints)
			}
			if _, err := Allocate(Offered(uids, gids, "root", 0), test.taken, Size); err != nil {
				t.Error(err)
			}
			for _, d := range append(uids, gids...) {
				if test.added != "" && d.User != "root" && d.Range.Overlaps(files.Range) {
					t.Errorf("%s overlaps %v", files.Range, d)
				}
			}
			if test.added == "" {
				return
			}
			back, removed := RemoveLine(files.SubUID, files.Added)
			want := test.subuid
			if want != "" && !strings.HasSuffix(want, "\n") {
				want += "\n"
			}
			if !removed || string(back) != want {
				t.Errorf("way back: %v\n%s\nwant\n%s", removed, back, want)
			}
			if _, removed := RemoveLine(back, files.Added); removed {
				t.Error("removed a line that is not there")
			}
		})
	}
	if _, err := EnsureRange([]byte("ann:1:4294967290\n"), nil, "root", 0, nil, Size); err == nil {
		t.Error("a range was found where none is free")
	}
}

func TestRemoveLineTakesThatLineAlone(t *testing.T) {
	const line = "root:2000224256:147128320"
	file := "root:2000224256:1471283200\n " + line + "\n" + line + "\nann:1:2\n"
	back, removed := RemoveLine([]byte(file), line)
	if want := "root:2000224256:1471283200\n " + line + "\nann:1:2\n"; !removed || string(back) != want {
		t.Errorf("%v\n%s", removed, back)
	}
}

func TestAccounts(t *testing.T) {
	got := Accounts([]byte("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbad\nx:x:y:1:\nann2:x:1000:5::\nbig:x:2000224300:1::\n"))
	if want := []Range{{0, 1}, {1000, 1}, {2000224300, 1}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestBuildIsABijectionOfAllIDs(t *testing.T) {
	own := Range{2000224256, 2 * Size}
	for _, layout := range []config.IDs{config.IDsPerson, config.IDsRoot, config.IDsPrivate} {
		for _, person := range []uint32{1, 1000, 65533, 65534, 65535, 65536, 1234567, 1999999999, maxID} {
			maps, err := Build(layout, person, 100, own)
			if err != nil {
				t.Fatal(layout, person, err)
			}
			m := maps.UIDs
			seen := map[uint32]bool{}
			check := func(id uint32) {
				host, ok := m.ToHost(id)
				if !ok {
					t.Fatalf("%s, person %d: %d has no host id", layout, person, id)
				}
				if seen[host] {
					t.Fatalf("%s, person %d: two ids are %d", layout, person, host)
				}
				seen[host] = true
				if back, ok := m.ToContainer(host); !ok || back != id {
					t.Fatalf("%s, person %d: %d → %d → %d", layout, person, id, host, back)
				}
				if host != person && !own.Contains(Range{host, 1}) {
					t.Fatalf("%s, person %d: %d is %d, which is not the container's", layout, person, id, host)
				}
			}
			total := uint32(0)
			for id := range uint32(Size) {
				check(id)
				total++
			}
			if person >= Size {
				check(person)
				total++
			}
			for _, s := range m {
				total -= s.Size
			}
			if total != 0 {
				t.Errorf("%s, person %d: mappings have other ids too: %v", layout, person, m)
			}
			want := map[config.IDs]uint32{config.IDsPerson: person, config.IDsRoot: 0}
			if id, special := want[layout]; special {
				if host, _ := m.ToHost(id); host != person {
					t.Errorf("%s: %d is %d outside, want %d", layout, id, host, person)
				}
			} else if _, in := m.ToContainer(person); in {
				t.Errorf("%s: the person %d is in %v", layout, person, m)
			}
			if _, in := m.ToContainer(0); in {
				t.Errorf("%s, person %d: the host's root is in %v", layout, person, m)
			}
			if len(m) > 5 { // an old kernel takes that many (user_namespaces(7))
				t.Errorf("%s, person %d: %d lines", layout, person, len(m))
			}
		}
	}
}

func TestBuildPerson(t *testing.T) {
	maps, err := Build(config.IDsPerson, 1000, 100, Range{1 << 20, Size})
	if err != nil {
		t.Fatal(err)
	}
	wantUIDs := Map{{0, 1 << 20, 1000}, {1000, 1000, 1}, {1001, 1<<20 + 1001, Size - 1001}}
	wantGIDs := Map{{0, 1 << 20, 100}, {100, 100, 1}, {101, 1<<20 + 101, Size - 101}}
	if !slices.Equal(maps.UIDs, wantUIDs) || !slices.Equal(maps.GIDs, wantGIDs) {
		t.Errorf("%v", maps)
	}
}

func TestBuildRefusesTheHostsRoot(t *testing.T) {
	for _, test := range []struct {
		layout   config.IDs
		uid, gid uint32
		own      Range
		want     string
	}{
		{config.IDsPerson, 0, 0, Range{1 << 20, Size}, "the person's user is 0; run hutch by sudo"},
		{config.IDsRoot, 0, 0, Range{1 << 20, Size}, "the person's user is 0"},
		{config.IDsPerson, 1000, 0, Range{1 << 20, Size}, "the person's group is 0"},
		{config.IDsPrivate, 0, 0, Range{0, Size}, "the host's root among them"},
		{config.IDsPerson, 1000, 1000, Range{1 << 20, Size - 1}, "too few"},
		{config.IDsPrivate, 1 << 20, 1000, Range{1 << 21, Size}, "needs 65537"},
		{config.IDsPerson, 1<<20 + 5, 1000, Range{1 << 20, Size + 1}, "the person's own user 1048581 among them"},
		{config.IDsPerson, 4294967295, 1000, Range{1 << 20, Size + 1}, "is no id of a user"},
		{config.IDsPrivate, 1000, 1000, Range{4294967295 - Size + 1, Size}, "too few"},
		{"", 1000, 1000, Range{1 << 20, Size}, "is no layout"},
	} {
		if maps, err := Build(test.layout, test.uid, test.gid, test.own); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q %d:%d %s: %v, %v; want %q", test.layout, test.uid, test.gid, test.own, maps, err, test.want)
		}
	}
	if maps, err := Build(config.IDsPrivate, 0, 0, Range{1 << 20, Size}); err != nil || len(maps.UIDs) != 1 {
		t.Errorf("root's private container: %v, %v", maps, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"root:100000:65536\n", "a:4294967294:1\nb:4294967295:1\n", "0:0:18446744073709551615\n", "root:1:1\x00\n", "#\n::\n", "a:1:1:1\n"} {
		f.Add([]byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, subuid, subgid []byte) {
		uids, _, err := Parse(subuid)
		if err != nil {
			return
		}
		for _, d := range uids {
			if d.Range.Count == 0 || d.Range.End() > maxID+1 || strings.ContainsAny(d.User, ":\n") {
				t.Errorf("%q", d)
			}
		}
		files, err := EnsureRange(subuid, subgid, "root", 0, []Range{{1000, 1}}, Size)
		if err != nil || files.Added == "" {
			return
		}
		gids, _, err := Parse(files.SubGID)
		if err != nil {
			return
		}
		for _, d := range append(uids, gids[:len(gids)-1]...) {
			if d.Range.Overlaps(files.Range) {
				t.Errorf("%s overlaps %v", files.Range, d)
			}
		}
		if back, removed := RemoveLine(files.SubUID, files.Added); !removed || strings.TrimSuffix(string(back), "\n") != strings.TrimSuffix(string(subuid), "\n") {
			t.Errorf("way back: %q, want %q", back, subuid)
		}
	})
}
