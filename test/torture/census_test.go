package torture

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/testenv"
)

// A world is a hutch whose traces can be counted: its /tmp is its own, so that
// what lies there is hutch's.
type world struct {
	*testenv.Hutch
	layout paths.Layout
	t      *testing.T
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Setenv("TMPDIR", "/var/tmp") // for the root, which /tmp of the workstation is to hide nothing of
	h := testenv.NewHutch(t)
	layout, err := paths.SystemBelow(h.Root)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Hutch: h, layout: layout, t: t}
	// What every Debian has.
	for _, path := range []string{w.layout.PasswdLock(), w.layout.SubUID, w.layout.SubGID} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(w.layout.Runtime), 0o755); err != nil {
		t.Fatal(err)
	}
	w.moveProgramsOutOfTmp()
	w.host("mount", "-t", "tmpfs", "tmpfs", "/tmp")
	return w
}

// moveProgramsOutOfTmp copies hutch's programs to where the workstation's empty /tmp
// does not hide them, wherever they were built.
func (w *world) moveProgramsOutOfTmp() {
	w.t.Helper()
	dir := filepath.Join(w.Root, "programs") // it goes with the root
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(w.Bin)); err != nil {
		w.t.Fatal(err)
	}
	w.Bin = dir
}

// host runs a program on the simulated workstation and returns what it printed.
func (w *world) host(name string, args ...string) string {
	w.t.Helper()
	out, err := w.Run(w.Host, name, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// A process that is hutch's or a container's.
type process struct {
	pid  int
	name string // of its program
	exe  string
	net  string
	mnt  string
}

// processes are all that belong to this hutch: by their environment, by their
// cgroup, by what is mounted where they are.
func (w *world) processes() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		w.t.Fatal(err)
	}
	var all []process
	variable, group, root := paths.RootVariable+"="+w.Root, "/"+w.layout.Cgroup+"/", w.Root+"/"
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		read := func(file string) string {
			data, _ := os.ReadFile(filepath.Join(dir, file)) // of one that is gone: nothing
			return string(data)
		}
		ours := slices.Contains(strings.Split(read("environ"), "\x00"), variable) ||
			strings.Contains(read("cgroup"), group) || strings.Contains(read("mountinfo"), root)
		if !ours || strings.Contains(read("stat"), ") Z ") {
			continue
		}
		p := process{pid: pid, name: strings.TrimSpace(read("comm"))}
		p.exe, _ = os.Readlink(filepath.Join(dir, "exe"))
		p.net, _ = os.Readlink(filepath.Join(dir, "ns/net"))
		p.mnt, _ = os.Readlink(filepath.Join(dir, "ns/mnt"))
		all = append(all, p)
	}
	return all
}

// programs are the processes of one of hutch's programs. It is quick: between the
// look and a kill little time is to pass.
func (w *world) programs(name string) (pids []int) {
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err != nil || exe != filepath.Join(w.Bin, name) {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "environ"))
		if !slices.Contains(strings.Split(string(environ), "\x00"), paths.RootVariable+"="+w.Root) {
			continue // another hutch's, or one that has just been forked
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// A census counts the traces of hutch, each by a line that says what it is and is
// the same in two counts where nothing has changed.
type census map[string]int

func (w *world) census() census {
	c := census{}
	// Processes of hutch's own and their namespaces. Of what a container runs, the
	// containers are counted, not the processes, which come and go.
	namespaces := map[string]bool{}
	mounts := map[string]bool{}
	for _, p := range w.processes() {
		if strings.HasPrefix(p.exe, w.Bin+"/") {
			c["process "+filepath.Base(p.exe)]++
		} else if strings.Contains(p.exe, "runc") || strings.Contains(p.exe, "memfd:") {
			c["process of the runtime"]++
		}
		if p.net != "" && !namespaces[p.net] {
			namespaces[p.net] = true
			c["network namespace with processes"]++
		}
		// What is mounted in it goes with it.
		if p.mnt != "" && !mounts[p.mnt] {
			mounts[p.mnt] = true
			c["mount namespace with processes"]++
		}
	}
	w.countMounts(c, "mount on the host: ", w.host("cat", "/proc/self/mountinfo"))
	if own, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		w.countMounts(c, "mount on the machine: ", string(own))
	}

	for _, line := range lines(w.host("ip", "-o", "link")) {
		c["link on the host: "+strings.Fields(line)[1]]++
	}
	for _, what := range [][]string{{"address"}, {"route", "show", "table", "all"}, {"rule"}} {
		for _, family := range []string{"-4", "-6"} {
			for _, line := range lines(w.host("ip", append([]string{family, "-o"}, what...)...)) {
				c[family+" "+what[0]+" on the host: "+plain(line)]++
			}
		}
	}
	for _, line := range lines(w.host("nft", "-s", "list", "ruleset")) {
		c["rule on the host: "+plain(line)]++
	}
	if strings.Contains(w.host("cat", "/proc/self/mountinfo"), w.layout.RouterNamespace()) {
		inside := func(args ...string) []string {
			return lines(w.host("nsenter", append([]string{"--net=" + w.layout.RouterNamespace()}, args...)...))
		}
		for _, line := range inside("ip", "-o", "link") {
			c["link in the router: "+strings.Split(strings.Fields(line)[1], "@")[0]]++
		}
		for _, line := range inside("nft", "-s", "list", "ruleset") {
			if strings.Contains(line, "ct count over") { // the kernel's own count; it goes when it is next looked at
				continue
			}
			for _, element := range strings.Split(strings.Trim(strings.TrimPrefix(plain(line), "elements = "), "{} "), ",") {
				c["rule in the router: "+strings.TrimSpace(element)]++
			}
		}
	}

	for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		roots, _ := filepath.Glob(filepath.Join(pattern, w.layout.Cgroup))
		scopes, _ := filepath.Glob(filepath.Join(pattern, "machine.slice", w.layout.Cgroup+"*"))
		for _, root := range append(roots, scopes...) {
			c["cgroup "+root]++
			entries, _ := os.ReadDir(root)
			for _, e := range entries {
				if e.IsDir() {
					c["cgroup "+filepath.Join(root, e.Name())]++
				}
			}
		}
	}

	w.countFiles(c)
	for _, line := range lines(w.host("ls", "-A", "/tmp")) {
		c["temporary file "+line]++
	}
	var book struct {
		Numbers map[string]uint32 `json:"numbers"`
	}
	if data, err := os.ReadFile(filepath.Join(w.layout.Netd, "addresses.json")); err == nil {
		if err := json.Unmarshal(data, &book); err != nil {
			w.t.Errorf("hutchd's book of addresses: %v", err)
		}
		for id := range book.Numbers {
			c["address of container "+id]++
		}
	}
	return c
}

// changing are the parts of a line that differ from one start to the next.
var changing = regexp.MustCompile(`^\d+: |handle \d+|@if\d+|valid_lft \S+|preferred_lft \S+|expires \S+`)

func plain(line string) string {
	return strings.Join(strings.Fields(changing.ReplaceAllString(line, "")), " ")
}

func lines(s string) []string {
	return slices.DeleteFunc(strings.Split(s, "\n"), func(l string) bool { return strings.TrimSpace(l) == "" })
}

// countMounts counts the mounts of a mountinfo (proc_pid_mountinfo(5)) that have to
// do with hutch's folders.
func (w *world) countMounts(c census, label, mountinfo string) {
	for _, line := range lines(mountinfo) {
		if !strings.Contains(line, w.Root+"/") {
			continue
		}
		fields := strings.Fields(line)
		c[label+fields[4]]++
	}
}

// countFiles counts what lies below the root, but for what the container that
// looks on writes itself, and the shared images.
func (w *world) countFiles(c census) {
	err := filepath.WalkDir(w.Root, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(w.Root, path)
		if d.IsDir() && (strings.HasSuffix(rel, "/upper") || strings.HasSuffix(rel, "/work")) {
			return fs.SkipDir
		}
		if filepath.Dir(path) != filepath.Join(w.layout.Images(), "locks") { // one for each image that ever was wanted: they stay
			c["file "+rel]++
		}
		return nil
	})
	if err != nil {
		w.t.Error(err)
	}
	staging := filepath.Join(w.layout.Images(), "staging")
	entries, _ := os.ReadDir(staging)
	for _, e := range entries {
		c["image in the making "+e.Name()]++
	}
}

// more are the lines of a count that are not in an earlier one.
func (c census) more(before census) (lines []string) {
	for line, n := range c {
		if n > before[line] {
			lines = append(lines, fmt.Sprintf("+%d %s", n-before[line], line))
		}
	}
	slices.Sort(lines)
	return lines
}

// changed are the differences in both directions.
func (c census) changed(before census) (lines []string) {
	for _, line := range before.more(c) {
		lines = append(lines, "-"+line[1:])
	}
	return append(lines, c.more(before)...)
}
