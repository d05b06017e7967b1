package doctor

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/testenv"
)

const (
	mountsV2     = "30 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n31 30 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
	mountsHybrid = "31 30 0:26 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro,mode=755\n" +
		"32 31 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n" +
		"33 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:11 - cgroup cgroup rw,cpu,cpuacct\n" +
		"34 31 0:29 / /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory\n" +
		"35 31 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n" +
		"36 31 0:31 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n" +
		"37 31 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
)

// A machine is a set of files as a distribution has them.
type machine struct {
	files    map[string]string
	programs []string
}

func debian() machine {
	return machine{
		files: map[string]string{
			"etc/os-release":                                "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\n",
			"proc/sys/kernel/osrelease":                     "6.12.48+deb13-amd64\n",
			"proc/sys/user/max_user_namespaces":             "62874\n",
			"proc/sys/kernel/unprivileged_userns_clone":     "1\n",
			"proc/sys/net/ipv4/ip_forward":                  "0\n",
			"proc/sys/net/ipv6/conf/all/disable_ipv6":       "0\n",
			"proc/1/comm":                                   "systemd\n",
			"run/systemd/system/x":                          "",
			"proc/self/mountinfo":                           mountsV2,
			"sys/fs/cgroup/cgroup.controllers":              "cpuset cpu io memory hugetlb pids rdma misc\n",
			"sys/module/apparmor/parameters/enabled":        "Y\n",
			"etc/subuid":                                    "ann:100000:65536\n",
			"etc/subgid":                                    "ann:100000:65536\n",
			"etc/passwd":                                    "root:x:0:0:root:/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\n",
			"etc/group":                                     "root:x:0:\nann:x:1000:\n",
			"usr/share/keyrings/debian-archive-keyring.gpg": "keys",
		},
		programs: []string{"mmdebstrap", "xz", "newuidmap", "newgidmap"},
	}
}

func ubuntu() machine {
	m := debian()
	m.files["etc/os-release"] = "PRETTY_NAME=\"Ubuntu 24.04.3 LTS\"\nID=ubuntu\nID_LIKE=debian\n"
	m.files["proc/sys/kernel/osrelease"] = "6.8.0-79-generic\n"
	m.files["proc/sys/kernel/apparmor_restrict_unprivileged_userns"] = "1\n"
	m.files["etc/ufw/ufw.conf"] = "# /etc/ufw/ufw.conf\nENABLED=yes\nLOGLEVEL=low\n"
	m.files["proc/812/comm"] = "dockerd\n"
	m.programs = []string{"xz", "newuidmap", "newgidmap"}
	delete(m.files, "usr/share/keyrings/debian-archive-keyring.gpg")
	return m
}

func fedora() machine {
	m := debian()
	m.files["etc/os-release"] = "NAME=\"Fedora Linux\"\nID=fedora\nPRETTY_NAME=\"Fedora Linux 42 (Workstation Edition)\"\n"
	m.files["proc/sys/kernel/osrelease"] = "6.15.9-201.fc42.x86_64\n"
	delete(m.files, "sys/module/apparmor/parameters/enabled")
	delete(m.files, "proc/sys/kernel/unprivileged_userns_clone")
	m.files["sys/fs/selinux/enforce"] = "1"
	m.files["proc/901/comm"] = "firewalld\n"
	m.files["sys/class/net/virbr0/address"] = "52:54:00:00:00:01\n"
	delete(m.files, "usr/share/keyrings/debian-archive-keyring.gpg")
	m.programs = []string{"xz"}
	return m
}

func arch() machine {
	m := debian()
	delete(m.files, "etc/os-release")
	m.files["usr/lib/os-release"] = "NAME=\"Arch Linux\"\nID=arch\n"
	m.files["proc/sys/kernel/osrelease"] = "6.16.3-arch1-1\n"
	m.files["sys/module/apparmor/parameters/enabled"] = "N\n"
	m.files["etc/subuid"], m.files["etc/subgid"] = "", ""
	m.files["etc/systemd/system/multi-user.target.wants/nftables.service"] = ""
	m.programs = []string{"xz", "newuidmap", "newgidmap"}
	return m
}

// hybrid is a machine without systemd, where every limit but devices is of v1.
func hybrid() machine {
	m := debian()
	m.files["proc/1/comm"] = "init\n"
	delete(m.files, "run/systemd/system/x")
	m.files["proc/self/mountinfo"] = mountsHybrid
	m.files["sys/fs/cgroup/unified/cgroup.controllers"] = "hugetlb\n"
	return m
}

// build makes the files, and sources that look at them.
func (m machine) build(t *testing.T) Sources {
	t.Helper()
	root := t.TempDir()
	for name, content := range m.files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l, err := paths.SystemBelow(root)
	if err != nil {
		t.Fatal(err)
	}
	return Sources{
		Root: root, Layout: l, Person: Person{"ann", 1000, 1000},
		Try: func(paths.Layout) map[Trial]error {
			all := map[Trial]error{}
			for _, x := range trials {
				all[x.trial] = nil
			}
			return all
		},
		LookPath: func(program string) (string, error) {
			if slices.Contains(m.programs, program) {
				return "/usr/bin/" + program, nil
			}
			return "", os.ErrNotExist
		},
		Display: func() Display { return Display{Name: ":0", Security: true} },
		Netd:    func() Netd { return Netd{Running: true} },
	}
}

// notFine is what a report says beside fine: check → status: mend.
func notFine(findings []Finding) map[string]string {
	m := map[string]string{}
	for _, f := range findings {
		if f.Status != Fine {
			m[f.Check] = string(f.Status) + ": " + f.Mend
		}
	}
	return m
}

func TestDistributions(t *testing.T) {
	const noModule = "limits: boot with apparmor=1 security=apparmor where the kernel has it"
	rootIDs := map[string]string{"root's subuid and subgid ranges": "limits: hutch doctor --fix"}
	for _, test := range []struct {
		name      string
		machine   machine
		want      map[string]string
		firewalls string
	}{
		{"Debian", debian(), nil, "firewall"},
		{"Ubuntu", ubuntu(), map[string]string{
			"user namespace limits": "limits: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (it holds for the whole machine)",
			"programs":              "limits: apt-get install mmdebstrap debian-archive-keyring",
		}, "firewall: ufw, firewall: Docker"},
		{"Fedora", fedora(), map[string]string{
			"security module": "limits: ",
			"programs":        "limits: dnf install shadow-utils debian-keyring; get mmdebstrap from elsewhere: this distribution is not known to package it",
		}, "firewall: firewalld, firewall: libvirt"},
		{"Arch", arch(), map[string]string{
			"security module":                 noModule,
			"programs":                        "limits: get mmdebstrap from elsewhere: this distribution is not known to package it",
			"subuid and subgid ranges of ann": "limits: usermod --add-subuids 131072-196607 --add-subgids 131072-196607 ann",
		}, "firewall: nftables.service"},
		{"hybrid without systemd", hybrid(), nil, "firewall"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := Gather(test.machine.build(t))
			f.Disk = Disk{Path: "/var/lib/hutch", FreeBytes: 100 << 30}
			findings := Examine(f)
			want := maps.Clone(rootIDs)
			maps.Copy(want, test.want)
			if got := notFine(findings); !maps.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			var walls []string
			for _, x := range findings {
				if strings.HasPrefix(x.Check, "firewall") {
					walls = append(walls, x.Check)
				}
				if x.Detail == "" || x.Status == Limits && x.Limits == "" {
					t.Errorf("a finding that does not say why: %+v", x)
				}
			}
			if got := strings.Join(walls, ", "); got != test.firewalls {
				t.Errorf("firewalls: %s, want %s", got, test.firewalls)
			}
			if ExitStatus(findings) != 0 {
				t.Error("exit status is not 0")
			}
		})
	}
}

func TestWhatIsBrokenIsSaid(t *testing.T) {
	good := Gather(debian().build(t))
	good.Disk = Disk{Path: "/", FreeBytes: 100 << 30, FreeInodes: 1 << 20, HasInodes: true}
	for _, test := range []struct {
		name   string
		change func(*Facts)
		check  string
		status Status
		detail string
	}{
		{"an old kernel", func(f *Facts) { f.Kernel = "5.10.0-30-amd64" }, "kernel", Broken, "too old"},
		{"the first good kernel", func(f *Facts) { f.Kernel = "5.19" }, "kernel", Fine, "5.19"},
		{"a strange kernel", func(f *Facts) { f.Kernel = "x" }, "kernel", Broken, "not understood"},
		{"no idmapped mounts", func(f *Facts) { f.Trials[TrialIDMap] = errors.New("invalid argument") }, "idmapped mount", Broken, "tried, and failed: invalid argument"},
		{"not tried", func(f *Facts) { delete(f.Trials, TrialOverlay) }, "overlay", Limits, "could not be tried"},
		{"no user namespaces", func(f *Facts) { f.Sysctls["user.max_user_namespaces"] = "0" }, "user namespace limits", Broken, "none can be made"},
		{"only root's user namespaces", func(f *Facts) { f.Sysctls["kernel.unprivileged_userns_clone"] = "0" }, "user namespace limits", Limits, "only root"},
		{"no cgroups", func(f *Facts) { f.Cgroups = Cgroups{} }, "cgroups", Broken, "nothing would limit"},
		{"no memory controller", func(f *Facts) { f.Cgroups.Controllers = []string{"cpu", "pids"} }, "cgroups", Limits, "v2: cpu by v2, pids by v2, devices by v2"},
		{"v1 alone", func(f *Facts) {
			f.Cgroups = Cgroups{V1: map[string]string{"memory": "/m", "cpu": "/c", "pids": "/p", "devices": "/d"}}
		}, "cgroups", Limits, "v1: memory by v1"},
		{"unreadable subuid", func(f *Facts) { f.SubIDError = "permission denied" }, "root's subuid and subgid ranges", Broken, "permission denied"},
		{"a bad line in subuid", func(f *Facts) { f.SubIDComplaints = []string{"/etc/subuid: line 3"} }, "root's subuid and subgid ranges", Limits, ""},
		{"a few containers more", func(f *Facts) {
			f.SubUIDs = append(f.SubUIDs, idmap.Delegation{User: "root", Range: idmap.Range{Start: 1 << 20, Count: 3 * idmap.Size}})
			f.SubGIDs = f.SubUIDs
			f.Taken = []idmap.Range{{Start: 1 << 20, Count: idmap.Size}}
		}, "root's subuid and subgid ranges", Limits, "root has ids for 2 more containers"},
		{"localnet routed", func(f *Facts) { f.Sysctls["net.ipv4.conf.all.route_localnet"] = "1" }, "forwarding", Limits, "127.0.0.0/8"},
		{"no IPv6", func(f *Facts) { delete(f.Sysctls, "net.ipv6.conf.all.disable_ipv6") }, "forwarding", Limits, "no IPv6"},
		{"hutchd hangs", func(f *Facts) { f.Netd = &Netd{Running: true, Error: "timeout"} }, "hutchd", Broken, "timeout"},
		{"hutchd is not there", func(f *Facts) { f.Netd = &Netd{} }, "hutchd", Fine, "not running"},
		{"no display", func(f *Facts) { f.Display = &Display{} }, "X server", Limits, "no display"},
		{"a dead display", func(f *Facts) { f.Display = &Display{Name: ":9\x1b", Error: "refused"} }, "X server", Limits, `":9\x1b" can not be reached`},
		{"no SECURITY", func(f *Facts) { f.Display = &Display{Name: ":0"} }, "X server", Limits, "no SECURITY"},
		{"a full disk", func(f *Facts) { f.Disk.FreeBytes = 1000 }, "disk", Broken, "not enough"},
		{"no inodes", func(f *Facts) { f.Disk.FreeInodes = 3 }, "disk", Broken, "room for 3 files"},
		{"inodes that are not counted", func(f *Facts) { f.Disk.FreeInodes, f.Disk.HasInodes = 0, false }, "disk", Fine, "100.0 GiB"},
		{"little room", func(f *Facts) { f.Disk.FreeBytes = 2 << 30 }, "disk", Limits, "2.0 GiB"},
		{"no disk", func(f *Facts) { f.Disk = Disk{Error: "stale handle"} }, "disk", Broken, "stale handle"},
		{"leftovers", func(f *Facts) { f.Leftovers = []string{"a", "b", "c", "d", "e", "f", "g"} }, "leftovers", Limits, "a, b, c, d, e and 2 more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := good
			f.Trials, f.Sysctls = maps.Clone(good.Trials), maps.Clone(good.Sysctls)
			test.change(&f)
			findings := Examine(f)
			i := slices.IndexFunc(findings, func(x Finding) bool {
				return x.Check == test.check && x.Status == test.status && strings.Contains(x.Detail, test.detail)
			})
			if i < 0 {
				t.Fatalf("no %s: %s (%s) in\n%+v", test.check, test.status, test.detail, findings)
			}
			if want := 0; test.status == Broken {
				if ExitStatus(findings) != 1 {
					t.Error("exit status is not 1")
				}
			} else if got := ExitStatus(findings); got != want {
				t.Errorf("exit status %d", got)
			}
		})
	}
}

func TestFixGivesRootARange(t *testing.T) {
	s := debian().build(t)
	mended, err := Mend(Examine(Gather(s)))
	if err != nil || len(mended) != 1 {
		t.Fatalf("mended %q, %v", mended, err)
	}
	f := Gather(s)
	f.Disk = Disk{FreeBytes: 100 << 30}
	if bad := notFine(Examine(f)); len(bad) != 0 {
		t.Errorf("after the fix: %v", bad)
	}
	if mended, err := Mend(Examine(f)); err != nil || mended != nil {
		t.Errorf("a second time: %q, %v", mended, err)
	}
}

func TestAFixThatFailsIsSaid(t *testing.T) {
	ran := false
	mended, err := Mend([]Finding{
		{Check: "one", Fix: func() error { return errors.New("no") }},
		{Check: "two"},
		{Check: "three", Fix: func() error { ran = true; return nil }},
	})
	if err == nil || err.Error() != "one: no" || !ran || !slices.Equal(mended, []string{"three"}) {
		t.Errorf("%q, %v, %v", mended, err, ran)
	}
}

func TestLeftoversAreFound(t *testing.T) {
	s := debian().build(t)
	if err := os.MkdirAll(s.Layout.Container("ff"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.Layout.Container("ff"), ".config.toml.123.hutch-tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.Layout.State, trialFolder+"1"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.Leftovers = func() ([]string, error) { return []string{"link hutch7"}, errors.New("no nft") }
	f := Gather(s)
	if len(f.Leftovers) != 4 || !strings.Contains(f.Leftovers[0], ".config.toml.123.hutch-tmp") || !strings.Contains(f.Leftovers[1], "earlier doctor") || f.Leftovers[2] != "link hutch7" || !strings.Contains(f.Leftovers[3], "no nft") {
		t.Errorf("%q", f.Leftovers)
	}
}

func TestFindingsAsJSON(t *testing.T) {
	x := Finding{Check: "c", Status: Limits, Detail: "d", Limits: "l", Mend: "m", Fix: func() error { return nil }, Fixable: true}
	got, err := json.Marshal(x)
	if want := `{"check":"c","status":"limits","detail":"d","limits":"l","mend":"m","fixable":true}`; err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func TestCgroupMounts(t *testing.T) {
	c := parseCgroupMounts([]byte(mountsHybrid))
	if c.V2 != "/sys/fs/cgroup/unified" || c.V1["cpuacct"] != "/sys/fs/cgroup/cpu,cpuacct" || c.V1["memory"] != "/sys/fs/cgroup/memory" || len(c.V1) != 5 {
		t.Errorf("%+v", c)
	}
	if c := parseCgroupMounts([]byte("1 2 0:1 / /a\\040b rw - cgroup2 x rw\nnonsense\n - \n")); c.V2 != "/a b" {
		t.Errorf("%+v", c)
	}
}

func FuzzGatherParsers(f *testing.F) {
	f.Add([]byte(mountsHybrid))
	f.Add([]byte("ID=\"x\nID_LIKE='a b'\n\\0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := parseCgroupMounts(data)
		checkCgroups(Facts{Cgroups: c})
		s := parseOSRelease(data)
		if s.installCommand([]string{"xz"}) == "" {
			t.Error("no command")
		}
	})
}

func TestTryOnThisMachine(t *testing.T) {
	testenv.RequireRoot(t)
	l, err := paths.SystemBelow(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for trial, err := range Try(l) {
		if err != nil {
			t.Errorf("%s: %v", trial, err)
		}
	}
	if len(Try(l)) != len(trials) {
		t.Errorf("%d trials, %d are judged", len(Try(l)), len(trials))
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Error("mounts were left")
	}
	if left, err := os.ReadDir(l.Root); err != nil || len(left) != 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestATrialThatMustFail(t *testing.T) {
	testenv.RequireRoot(t)
	// proc takes no idmapping, and is no place for an overlay's upper layer.
	if err := tryOverlay("/proc", ""); err == nil {
		t.Error("an overlay in /proc worked")
	}
	ns, stop, err := tryUserNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := tryIDMap("/proc", ns); err == nil {
		t.Error("an idmapped /proc worked")
	}
}

func TestGatherOnThisMachine(t *testing.T) {
	l, err := paths.SystemBelow(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := Machine(l, Person{})
	f := Gather(s)
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	if want := unix.ByteSliceToString(uts.Release[:]); f.Kernel != want {
		t.Errorf("kernel %q, want %q", f.Kernel, want)
	}
	if f.Init == "" || f.System.ID == "" || f.Disk.FreeBytes == 0 || len(f.Accounts) == 0 {
		t.Errorf("%+v", f)
	}
	for _, x := range Examine(f) {
		t.Logf("%-32s %-7s %s [%s] → %s", x.Check, x.Status, x.Detail, x.Limits, x.Mend)
	}
}
