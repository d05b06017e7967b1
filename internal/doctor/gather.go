package doctor

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/paths"
)

// Sources are where facts come from. The zero value of each function means that
// nobody can be asked.
type Sources struct {
	Root   string       // folder in which /etc, /proc, /sys and /run are: "/", but in tests
	Layout paths.Layout // hutch's own folders
	Person Person
	Taken  []idmap.Range // ids of the containers there are

	Try       func(l paths.Layout) map[Trial]error // [Try], but in tests
	LookPath  func(program string) (string, error) // [exec.LookPath], but in tests
	Display   func() Display
	Netd      func() Netd
	Leftovers func() ([]string, error) // what cleanup would remove, beside temporary files
}

// Machine returns the sources of the running machine; the caller adds those of
// the display, hutchd and leftovers.
func Machine(l paths.Layout, p Person) Sources {
	return Sources{Root: "/", Layout: l, Person: p, Try: Try, LookPath: exec.LookPath}
}

// sysctls that are looked at.
var sysctls = []string{
	"fs.inotify.max_user_instances",
	"user.max_user_namespaces",
	"kernel.unprivileged_userns_clone",
	"kernel.apparmor_restrict_unprivileged_userns",
	"net.ipv4.ip_forward",
	"net.ipv4.conf.all.route_localnet",
	"net.ipv6.conf.all.disable_ipv6",
	"net.ipv6.conf.all.forwarding",
}

// Gather looks at the machine; what can not be read counts as not there.
func Gather(s Sources) Facts {
	f := Facts{Layout: s.Layout, Person: s.Person, Taken: s.Taken, Trials: map[Trial]error{}, Sysctls: map[string]string{}, Programs: map[string]bool{}}
	f.System = parseOSRelease(s.read("etc/os-release", "usr/lib/os-release"))
	f.Kernel = s.line("proc/sys/kernel/osrelease")
	if s.Try != nil {
		f.Trials = s.Try(s.Layout)
	}
	for _, name := range sysctls {
		if v := s.line("proc/sys/" + strings.ReplaceAll(name, ".", "/")); v != "" {
			f.Sysctls[name] = v
		}
	}
	f.Init = s.line("proc/1/comm")
	f.Systemd = f.Init == "systemd" && s.exists("run/systemd/system")
	f.Cgroups = parseCgroupMounts(s.read("proc/self/mountinfo"))
	if f.Cgroups.V2 != "" {
		f.Cgroups.Controllers = strings.Fields(s.line(filepath.Join(f.Cgroups.V2, "cgroup.controllers")))
	}
	f.AppArmor = s.line("sys/module/apparmor/parameters/enabled") == "Y"
	switch s.line("sys/fs/selinux/enforce") {
	case "1":
		f.SELinux = "enforcing"
	case "0":
		f.SELinux = "permissive"
	}
	s.subIDs(&f)
	f.Accounts = slices.Concat(idmap.Accounts(s.read("etc/passwd")), idmap.Accounts(s.read("etc/group")))
	f.Firewalls = s.firewalls()
	if s.LookPath != nil {
		for _, p := range programs {
			_, err := s.LookPath(p.name)
			f.Programs[p.name] = err == nil
		}
	}
	f.Keyring = s.exists("usr/share/keyrings/debian-archive-keyring.gpg") || s.exists("usr/share/keyrings/debian-archive-keyring.pgp")
	if s.Display != nil {
		d := s.Display()
		f.Display = &d
	}
	if s.Netd != nil {
		n := s.Netd()
		f.Netd = &n
	}
	f.Disk = disk(s.Layout.State)
	f.Leftovers = s.leftovers()
	return f
}

// maxRead bounds what is read of one file.
const maxRead = 4<<20 + 1

// read returns the first of some files that is there, or nothing.
func (s Sources) read(names ...string) []byte {
	for _, name := range names {
		f, err := os.Open(filepath.Join(s.Root, name))
		if err != nil {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(f, maxRead))
		f.Close()
		if err == nil {
			return data
		}
	}
	return nil
}

func (s Sources) line(name string) string {
	first, _, _ := bytes.Cut(s.read(name), []byte("\n"))
	return strings.TrimSpace(string(first))
}

func (s Sources) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(s.Root, name))
	return err == nil
}

func (s Sources) subIDs(f *Facts) {
	for _, one := range []struct {
		path string
		into *[]idmap.Delegation
	}{{s.Layout.SubUID, &f.SubUIDs}, {s.Layout.SubGID, &f.SubGIDs}} {
		data, err := os.ReadFile(one.path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			f.SubIDError = err.Error()
			return
		}
		all, complaints, err := idmap.Parse(data)
		if err != nil {
			f.SubIDError = fmt.Sprintf("%s: %v", one.path, err)
			return
		}
		*one.into = all
		for _, c := range complaints {
			f.SubIDComplaints = append(f.SubIDComplaints, fmt.Sprintf("%s: %v", one.path, c))
		}
	}
}

// parseOSRelease reads os-release(5): shell-like assignments, of which only the
// quotes are undone.
func parseOSRelease(data []byte) System {
	var s System
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for scanner.Scan() {
		name, value, found := strings.Cut(strings.TrimSpace(scanner.Text()), "=")
		if !found {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		switch name {
		case "ID":
			s.ID = value
		case "ID_LIKE":
			s.Like = strings.Fields(value)
		case "PRETTY_NAME":
			s.Pretty = value
		}
	}
	return s
}

// parseCgroupMounts reads proc_pid_mountinfo(5).
func parseCgroupMounts(mountinfo []byte) Cgroups {
	c := Cgroups{V1: map[string]string{}}
	for line := range bytes.Lines(mountinfo) {
		before, after, found := strings.Cut(string(line), " - ")
		mount, fs := strings.Fields(before), strings.Fields(after)
		if !found || len(mount) < 6 || len(fs) < 3 {
			continue
		}
		point := unescapeMount(mount[4])
		switch fs[0] {
		case "cgroup2":
			if c.V2 == "" || len(point) < len(c.V2) {
				c.V2 = point
			}
		case "cgroup":
			for _, option := range strings.Split(fs[2], ",") {
				if option != "rw" && option != "ro" && !strings.Contains(option, "=") && c.V1[option] == "" {
					c.V1[option] = point
				}
			}
		}
	}
	return c
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// firewalls finds who else writes rules by the traces they leave in files.
func (s Sources) firewalls() []Firewall {
	var found []Firewall
	if bytes.Contains(append([]byte("\n"), s.read("etc/ufw/ufw.conf")...), []byte("\nENABLED=yes")) {
		found = append(found, Ufw)
	}
	running := s.processes()
	if running["firewalld"] {
		found = append(found, Firewalld)
	}
	if running["dockerd"] || s.exists("sys/class/net/docker0") {
		found = append(found, Docker)
	}
	if running["libvirtd"] || running["virtnetworkd"] || s.exists("sys/class/net/virbr0") {
		found = append(found, Libvirt)
	}
	if s.exists("etc/systemd/system/sysinit.target.wants/nftables.service") || s.exists("etc/systemd/system/multi-user.target.wants/nftables.service") {
		found = append(found, NftablesUnit)
	}
	if len(s.read("proc/net/ip_tables_names")) > 0 || len(s.read("proc/net/ip6_tables_names")) > 0 {
		found = append(found, IPTablesLegacy)
	}
	return found
}

func (s Sources) processes() map[string]bool {
	names := map[string]bool{}
	all, _ := filepath.Glob(filepath.Join(s.Root, "proc/[0-9]*/comm"))
	for _, path := range all {
		rel, err := filepath.Rel(s.Root, path)
		if err == nil {
			names[s.line(rel)] = true
		}
	}
	return names
}

// disk asks about the file system that a folder is on, or will be.
func disk(path string) Disk {
	d := Disk{Path: path}
	for p := path; ; p = filepath.Dir(p) {
		var st unix.Statfs_t
		err := unix.Statfs(p, &st)
		if errors.Is(err, unix.ENOENT) && p != "/" {
			continue
		}
		if err != nil {
			d.Error = fmt.Sprintf("%s: %v", p, err)
			return d
		}
		d.FreeBytes = st.Bavail * uint64(st.Bsize)
		d.FreeInodes, d.HasInodes = st.Ffree, st.Files > 0
		return d
	}
}

func (s Sources) leftovers() []string {
	var all []string
	l := s.Layout
	for _, dir := range []string{l.Config, filepath.Join(l.Config, "profiles"), l.State, l.Containers(), filepath.Join(l.Containers(), "*"),
		l.Images(), filepath.Join(l.Images(), "*"), l.Runtime, l.ContainersRuntime(), filepath.Join(l.ContainersRuntime(), "*"), l.Netd, filepath.Dir(l.SubUID)} {
		found, _ := filepath.Glob(filepath.Join(dir, atomicfile.TempPattern))
		for _, path := range found {
			all = append(all, fmt.Sprintf("temporary file %.200q", path))
		}
	}
	trials, _ := filepath.Glob(filepath.Join(nearestFolder(l.State), trialFolder+"*"))
	for _, path := range trials {
		all = append(all, fmt.Sprintf("folder of an earlier doctor %.200q", path))
	}
	if s.Leftovers != nil {
		more, err := s.Leftovers()
		if err != nil {
			more = append(more, "what could not be looked at: "+err.Error())
		}
		all = append(all, more...)
	}
	return all
}
