package torture

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/container/rootfs"
	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/testenv"
)

// A disk is what a power cut leaves of a folder's tree, in the worst way that the
// calls allow: what was written to a file may be lost, all or half, until the file
// is synced; what was made, renamed or removed in a folder, until the folder is
// (fsync(2), "Notes"). Until then any of it may be there or not, one without the
// other.
type disk struct {
	root    *node
	pending []change
}

// A node is a file or a folder; its links and its content as programs see them, and
// as they are on the disk.
type node struct {
	dir           bool
	seen, kept    map[string]*node
	data, written []byte
	link          string // of a symbolic link
}

// A change of folders that is not on the disk yet; the parts are done together.
type change []part

type part struct {
	in   *node
	name string
	node *node // nil removes the name
}

func newFolder() *node { return &node{dir: true, seen: map[string]*node{}, kept: map[string]*node{}} }

func (d *disk) find(path string) *node {
	n := d.root
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if name == "" || name == "." {
			continue
		}
		if n == nil || !n.dir {
			return nil
		}
		n = n.seen[name]
	}
	return n
}

func (d *disk) change(c change) {
	for _, p := range c {
		put(p.in.seen, p.name, p.node)
	}
	d.pending = append(d.pending, c)
}

func put(names map[string]*node, name string, n *node) {
	if n == nil {
		delete(names, name)
	} else {
		names[name] = n
	}
}

// sync puts what was done to a file, or in a folder, on the disk.
func (d *disk) sync(n *node) {
	n.written = n.data
	d.pending = slices.DeleteFunc(d.pending, func(c change) bool {
		if !slices.ContainsFunc(c, func(p part) bool { return p.in == n }) {
			return false
		}
		for _, p := range c {
			put(p.in.kept, p.name, p.node)
		}
		return true
	})
}

func (d *disk) syncAll(n *node) {
	d.sync(n)
	for _, child := range n.seen {
		d.syncAll(child)
	}
}

// cut writes what is left after a power cut below dir. keeps says of each change
// that was not synced whether it is there, lost how much of the data that was not
// synced is: 0 none, 1 half, 2 all.
func (d *disk) cut(t *testing.T, dir string, keeps func() bool, lost int) {
	t.Helper()
	undo := func() {}
	for _, c := range d.pending {
		if !keeps() {
			continue
		}
		for _, p := range c {
			before := maps.Clone(p.in.kept)
			put(p.in.kept, p.name, p.node)
			last := undo
			undo = func() { p.in.kept = before; last() }
		}
	}
	defer func() { undo() }()
	var write func(n *node, at string)
	write = func(n *node, at string) {
		var err error
		switch {
		case n.dir:
			err = os.Mkdir(at, 0o755)
			for name, child := range n.kept {
				write(child, filepath.Join(at, name))
			}
		case n.link != "":
			err = os.Symlink(n.link, at)
		default:
			data := n.written
			if !bytes.Equal(n.data, n.written) {
				data = [][]byte{n.data, n.data[:len(n.data)/2], n.written}[lost]
			}
			err = os.WriteFile(at, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(d.root, dir)
}

// read makes a disk of a folder as it is, all of it synced.
func read(t *testing.T, dir string) *disk {
	t.Helper()
	d := &disk{root: newFolder()}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		n := newFolder()
		switch {
		case e.Type() == fs.ModeSymlink:
			n.dir = false
			n.link, err = os.Readlink(path)
		case e.Type().IsRegular():
			n.dir = false
			n.data, err = os.ReadFile(path)
		case !e.IsDir():
			return nil // a socket: of no use after a power cut
		}
		d.find(filepath.Dir(rel)).seen[filepath.Base(rel)] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var settle func(*node)
	settle = func(n *node) {
		n.written, n.kept = n.data, maps.Clone(n.seen)
		for _, child := range n.seen {
			settle(child)
		}
	}
	settle(d.root)
	return d
}

// calls are those of a trace that change files.
const calls = "openat,open,creat,write,pwrite64,ftruncate,fsync,fdatasync,syncfs,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat"

// A call of a traced program that did not fail. Paths are absolute.
type call struct {
	name  string
	paths []string // those of descriptors first where it has one
	flags string   // what is left of the arguments
	data  []byte
	fd    string // the path behind the returned descriptor
}

var (
	callLine   = regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (\d+)(?:<(.*)>)?$`)
	unfinished = regexp.MustCompile(`^(\d+) +(.*) <unfinished \.\.\.>$`)
	resumed    = regexp.MustCompile(`^(\d+) +<\.\.\. \w+ resumed>(.*)$`)
	argument   = regexp.MustCompile(`^(?:"((?:[^"\\]|\\.)*)"|(AT_FDCWD|\d+)<([^>]*)>|[^,"]+)(?:, |$)`)
)

// parse reads what strace -f -y -x wrote.
func parse(t *testing.T, trace string) (all []call) {
	t.Helper()
	halves := map[string]string{}
	for _, line := range lines(trace) {
		if m := unfinished.FindStringSubmatch(line); m != nil {
			halves[m[1]] = m[1] + " " + m[2]
			continue
		}
		if m := resumed.FindStringSubmatch(line); m != nil {
			line = halves[m[1]] + m[2]
		}
		m := callLine.FindStringSubmatch(line)
		if m == nil {
			continue // failed, or a signal, or the end
		}
		c := call{name: m[1], fd: m[4]}
		base := ""
		for rest := m[2]; rest != ""; {
			a := argument.FindStringSubmatch(rest)
			if a == nil {
				t.Fatalf("a line of the trace that is not understood: %s", line)
			}
			switch {
			case strings.HasPrefix(rest, `"`):
				text, err := strconv.Unquote(`"` + a[1] + `"`)
				if err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				if strings.Contains(c.name, "write") {
					c.data = []byte(text)
				} else {
					if !filepath.IsAbs(text) {
						text = filepath.Join(base, text)
					}
					c.paths = append(c.paths, text)
				}
			case a[2] != "":
				base = a[3]
				if slices.Contains([]string{"write", "pwrite64", "fsync", "fdatasync", "syncfs", "ftruncate"}, c.name) {
					c.paths = append(c.paths, base)
				}
			default:
				c.flags += " " + a[0]
			}
			rest = rest[len(a[0]):]
		}
		all = append(all, c)
	}
	return all
}

// apply does to the disk what a call did below root. It says whether it did
// anything.
func (d *disk) apply(t *testing.T, root string, c call) bool {
	t.Helper()
	at := func(path string) (parent *node, name string, n *node) {
		rel, err := filepath.Rel(root, path)
		if err != nil || !filepath.IsLocal(rel) {
			return nil, "", nil
		}
		return d.find(filepath.Dir(rel)), filepath.Base(rel), d.find(rel)
	}
	if len(c.paths) == 0 {
		return false
	}
	parent, name, n := at(c.paths[0])
	if parent == nil {
		return false
	}
	switch c.name {
	case "openat", "open", "creat":
		switch {
		case n == nil && (strings.Contains(c.flags, "O_CREAT") || c.name == "creat"):
			d.change(change{{parent, name, &node{}}})
		case n != nil && strings.Contains(c.flags, "O_TRUNC"):
			n.data = nil
		default:
			return false
		}
	case "write", "pwrite64":
		if n == nil || n.dir {
			return false
		}
		n.data = append(slices.Clone(n.data), c.data...)
	case "ftruncate":
		t.Fatal("ftruncate is not replayed yet: teach the test")
	case "fsync", "fdatasync":
		if n == nil {
			return false
		}
		d.sync(n)
	case "syncfs":
		d.syncAll(d.root)
	case "mkdir", "mkdirat":
		d.change(change{{parent, name, newFolder()}})
	case "unlink", "unlinkat", "rmdir":
		d.change(change{{parent, name, nil}})
	case "rename", "renameat", "renameat2":
		to, newName, _ := at(c.paths[1])
		if to == nil {
			t.Fatalf("renamed out of the root: %v", c)
		}
		d.change(change{{parent, name, nil}, {to, newName, n}})
	default:
		t.Fatalf("%s is not replayed yet: teach the test", c.name)
	}
	return true
}

// traced runs hutch and returns the changes that it made, in their order.
func traced(t *testing.T, h *testenv.Hutch, args ...string) []call {
	t.Helper()
	log := filepath.Join(t.TempDir(), "trace")
	c := h.Command("strace", append([]string{"-f", "-y", "-x", "-s", "4194304", "-e", "trace=" + calls, "-e", "signal=none", "-o", log, filepath.Join(h.Bin, "hutch")}, args...)...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := h.Start(h.Host, c); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatalf("hutch %v: %v: %s", args, err, said.String())
	}
	trace, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(trace))
}

// TestPowerCut cuts the power after each change that a command makes, and looks
// whether what is then on the disk is a container whole, or none.
func TestPowerCut(t *testing.T) {
	testenv.RequireTools(t, "strace")
	h := testenv.NewHutch(t)
	layout, err := paths.SystemBelow(h.Root)
	if err != nil {
		t.Fatal(err)
	}
	before := func() *disk { return read(t, layout.State) }
	h.Must("create", "other", "debian/bookworm")
	// What each container's files are when they are whole.
	whole := func(name string) map[string]string {
		files := map[string]string{}
		upper := rootfs.UpperDir(layout.Container(name))
		err := filepath.WalkDir(upper, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				var data []byte
				data, err = os.ReadFile(path)
				rel, _ := filepath.Rel(upper, path)
				files[rel] = string(data)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	configOf := func(l paths.Layout, name string) string {
		data, err := os.ReadFile(filepath.Join(l.Container(name), "config.toml"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(data)
	}

	for _, test := range []struct {
		name    string
		args    []string
		configs func(before, after string) []string // that it may have
		absent  bool                                // it may be absent
	}{
		{"create", []string{"create", victim, "debian/bookworm", "--memory", "1GiB"}, func(_, after string) []string { return []string{after} }, true},
		{"config set", []string{"config", "set", victim, "pids", "333"}, func(before, after string) []string { return []string{before, after} }, false},
		{"mount", []string{"mount", victim, "/usr/share/doc:/srv/doc:ro"}, func(before, after string) []string { return []string{before, after} }, false},
		{"rm", []string{"rm", victim}, func(before, _ string) []string { return []string{before} }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := before()
			files, config := map[string]string{}, configOf(layout, victim)
			if config != "" {
				files = whole(victim)
			}
			calls := traced(t, h, test.args...)
			if test.name == "create" {
				files = whole(victim)
				if len(files) < 4 {
					t.Fatalf("a new container has the files %v", files)
				}
			}
			allowed := test.configs(config, configOf(layout, victim))
			random := rand.New(rand.NewPCG(seed, 1))
			cuts, found := 0, map[bool]int{}
			look := func(i int, how string) {
				cuts++
				dir := filepath.Join(t.TempDir(), "cut")
				l, err := paths.SystemBelow(dir)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.MkdirAll(filepath.Dir(l.State), 0o755); err != nil {
					t.Fatal(err)
				}
				for variant, keeps := range []func() bool{func() bool { return false }, func() bool { return true },
					func() bool { return random.IntN(2) == 0 }, func() bool { return random.IntN(4) == 0 }, func() bool { return random.IntN(4) != 0 }} {
					for lost := range 3 {
						if err := os.RemoveAll(l.State); err != nil {
							t.Fatal(err)
						}
						d.cut(t, l.State, keeps, 2-lost)
						exists, err := check(l, files, allowed)
						if err == nil && !exists && !test.absent {
							err = errors.New("it is gone")
						}
						if err != nil {
							t.Fatalf("power cut after change %d (%s), unsynced names %d, unsynced data %d: %v", i, how, variant, lost, err)
						}
						found[exists]++
					}
				}
			}
			look(0, "nothing")
			for i, c := range calls {
				if d.apply(t, layout.State, c) {
					look(i, fmt.Sprintf("%s %v", c.name, c.paths))
				}
			}
			t.Logf("%d calls, the power cut at %d of them: there %d times, absent %d times", len(calls), cuts, found[true], found[false])
			// In the end all that was promised lasts.
			end := filepath.Join(t.TempDir(), "end")
			l, _ := paths.SystemBelow(end)
			if err := os.MkdirAll(filepath.Dir(l.State), 0o755); err != nil {
				t.Fatal(err)
			}
			d.cut(t, l.State, func() bool { return false }, 2)
			exists, err := check(l, files, []string{configOf(layout, victim)})
			if err != nil || exists != (test.name != "rm") {
				t.Errorf("the power was cut after the command had ended: container there: %v, %v", exists, err)
			}
			if cuts < 6 {
				t.Errorf("the power was cut at %d points only; is the trace read?", cuts)
			}
		})
	}
}

// check looks at a state folder after a power cut: each container is there whole,
// or absent.
func check(l paths.Layout, files map[string]string, configs []string) (exists bool, err error) {
	s := store.New(l)
	records, err := s.List()
	if err != nil {
		return false, err
	}
	names := map[string]bool{}
	for _, r := range records {
		names[r.Name] = true
	}
	if !names["other"] {
		return false, errors.New("the other container is gone")
	}
	all, err := s.Names()
	if err != nil {
		return false, err
	}
	for _, name := range all {
		if !names[name] {
			return false, fmt.Errorf("there is a folder of container %s without a record", name)
		}
	}
	if !names[victim] {
		return false, nil
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(rootfs.UpperDir(l.Container(victim)), name))
		if err != nil {
			return true, fmt.Errorf("the container is there, but: %w", err)
		}
		if string(got) != want {
			return true, fmt.Errorf("the container is there, but %s has %d of %d bytes", name, len(got), len(want))
		}
	}
	if _, err := os.Stat(rootfs.WorkDir(l.Container(victim))); err != nil {
		return true, err
	}
	config, err := os.ReadFile(filepath.Join(l.Container(victim), "config.toml"))
	if err != nil && !os.IsNotExist(err) {
		return true, err
	}
	if !slices.Contains(configs, string(config)) {
		return true, fmt.Errorf("its configuration is %q, want one of %q", config, configs)
	}
	return true, nil
}
