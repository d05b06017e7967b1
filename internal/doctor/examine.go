package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/container/subids"
)

// Examine judges the facts, the most basic first.
func Examine(f Facts) []Finding {
	var all []Finding
	for _, check := range []func(Facts) []Finding{
		checkKernel, checkTrials, checkUserNamespaces, checkInotify, checkCgroups, checkInit, checkSecurityModules,
		checkRootIDs, checkPersonIDs, checkForwarding, checkFirewalls, checkNetd, checkDisplay,
		checkPrograms, checkDisk, checkLeftovers,
	} {
		all = append(all, check(f)...)
	}
	for i := range all {
		all[i].Fixable = all[i].Fix != nil
	}
	return all
}

func fine(check, detail string) Finding { return Finding{Check: check, Status: Fine, Detail: detail} }

func limits(check, detail, what, mend string) Finding {
	return Finding{Check: check, Status: Limits, Detail: detail, Limits: what, Mend: mend}
}

func broken(check, detail, mend string) Finding {
	return Finding{Check: check, Status: Broken, Detail: detail, Mend: mend}
}

// oldest is the Linux release whose overlay takes idmapped layers (5.19).
var oldest = [2]int{5, 19}

func checkKernel(f Facts) []Finding {
	const check = "kernel"
	version, ok := parseRelease(f.Kernel)
	switch {
	case !ok:
		return []Finding{broken(check, fmt.Sprintf("release %q is not understood", f.Kernel), "")}
	case version[0] < oldest[0] || version[0] == oldest[0] && version[1] < oldest[1]:
		return []Finding{broken(check, fmt.Sprintf("Linux %s is too old: images are shared by idmapped overlay layers, which came with %d.%d", f.Kernel, oldest[0], oldest[1]),
			"upgrade the kernel of the distribution")}
	}
	return []Finding{fine(check, "Linux "+f.Kernel)}
}

func parseRelease(release string) (version [2]int, ok bool) {
	major, rest, found := strings.Cut(release, ".")
	if !found {
		return version, false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(rest[:end])
	return [2]int{a, b}, err1 == nil && err2 == nil
}

// trials, in the order of the report, with what to do about a failure.
var trials = []struct {
	trial Trial
	mend  string
}{
	{TrialUserNamespace, "use a kernel with CONFIG_USER_NS=y"},
	{TrialMountAPI, "use a kernel of 5.19 or newer; inside another container, run hutch on the host"},
	{TrialOverlay, "modprobe overlay; the folder of containers must not be on NFS, FAT or another overlay"},
	{TrialIDMap, "put the folder of images on ext4, xfs or btrfs, with a kernel of 5.19 or newer"},
	{TrialPidfd, "use a kernel of 5.19 or newer"},
	{TrialOpenat2, "use a kernel of 5.19 or newer; an old seccomp filter around hutch may also hide it"},
	{TrialSeccomp, "use a kernel with CONFIG_SECCOMP_FILTER=y"},
}

func checkTrials(f Facts) []Finding {
	var all []Finding
	for _, t := range trials {
		err, tried := f.Trials[t.trial]
		switch {
		case !tried:
			all = append(all, limits(string(t.trial), "could not be tried without root", "knowing whether it works", "sudo hutch doctor"))
		case err != nil:
			all = append(all, broken(string(t.trial), fmt.Sprintf("tried, and failed: %v", err), t.mend))
		default:
			all = append(all, fine(string(t.trial), "tried, and works"))
		}
	}
	return all
}

func checkUserNamespaces(f Facts) []Finding {
	const check = "user namespace limits"
	var all []Finding
	if f.Sysctls["user.max_user_namespaces"] == "0" {
		all = append(all, broken(check, "user.max_user_namespaces is 0: none can be made", "sysctl -w user.max_user_namespaces=15000"))
	}
	const inner = "sandboxes that programs such as browsers make of their own inside a container"
	if f.Sysctls["kernel.unprivileged_userns_clone"] == "0" {
		all = append(all, limits(check, "kernel.unprivileged_userns_clone is 0: only root makes user namespaces", inner, "sysctl -w kernel.unprivileged_userns_clone=1"))
	}
	if v := f.Sysctls["kernel.apparmor_restrict_unprivileged_userns"]; v != "" && v != "0" {
		all = append(all, limits(check, "kernel.apparmor_restrict_unprivileged_userns is "+v+" (Ubuntu's default): user namespaces of programs without an AppArmor profile have no rights", inner,
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (it holds for the whole machine)"))
	}
	if all == nil {
		all = []Finding{fine(check, "nothing restricts them")}
	}
	return all
}

// fewInstances is below what a desktop and a few containers need together; it is
// the kernel's own default.
const fewInstances = 1024

// checkInotify looks at a bound that all of root's containers share with root: the
// kernel counts what a user namespace uses on whoever made it (user_namespaces(7),
// "user.max_inotify_instances").
func checkInotify(f Facts) []Finding {
	const check = "inotify instances"
	n, err := strconv.Atoi(f.Sysctls["fs.inotify.max_user_instances"])
	if err != nil {
		return nil
	}
	if n < fewInstances {
		return []Finding{limits(check, fmt.Sprintf("fs.inotify.max_user_instances is %d, and all containers share it with root", n),
			"many containers at once; and one container can use all of them up, so that another does not start", "sysctl -w fs.inotify.max_user_instances=8192")}
	}
	return []Finding{fine(check, fmt.Sprintf("%d for all containers together", n))}
}

// limitControllers are the limits of a container and who keeps them. Devices
// need no controller on cgroup2: a program does it.
var limitControllers = []struct{ controller, limit string }{
	{"memory", "the memory limit"}, {"cpu", "the processor limit"}, {"pids", "the limit on tasks"}, {"devices", "the list of devices"},
}

func checkCgroups(f Facts) []Finding {
	const check = "cgroups"
	c := f.Cgroups
	name := "v2"
	switch {
	case c.V2 == "" && len(c.V1) == 0:
		return []Finding{broken(check, "no control groups are mounted: nothing would limit a container", "mount -t cgroup2 cgroup2 /sys/fs/cgroup")}
	case c.V2 == "":
		name = "v1"
	case len(c.V1) > 0:
		name = "hybrid (v2 and v1)"
	}
	var missing []string
	var where []string
	for _, l := range limitControllers {
		switch {
		case c.V2 != "" && (slices.Contains(c.Controllers, l.controller) || l.controller == "devices" && c.V1["devices"] == ""):
			where = append(where, l.controller+" by v2")
		case c.V1[l.controller] != "":
			where = append(where, l.controller+" by v1")
		default:
			missing = append(missing, l.limit)
		}
	}
	detail := name + ": " + strings.Join(where, ", ")
	var all []Finding
	if len(missing) > 0 {
		all = append(all, limits(check, detail, strings.Join(missing, ", "),
			"enable the controllers on the kernel's command line: cgroup_enable=memory systemd.unified_cgroup_hierarchy=1"))
	}
	if c.V2 == "" {
		all = append(all, limits(check, detail, "init = \"system\" with images whose systemd is 256 or newer: it wants cgroup2", "boot with systemd.unified_cgroup_hierarchy=1"))
	}
	if all == nil {
		all = []Finding{fine(check, detail)}
	}
	return all
}

func checkInit(f Facts) []Finding {
	if f.Systemd {
		return []Finding{fine("init of the host", "systemd")}
	}
	return []Finding{fine("init of the host", fmt.Sprintf("%.40q, not systemd: hutch starts hutchd and makes cgroups itself", f.Init))}
}

func checkSecurityModules(f Facts) []Finding {
	const check = "security module"
	switch {
	case f.AppArmor:
		return []Finding{fine(check, "AppArmor is on")}
	case f.SELinux != "":
		return []Finding{limits(check, "SELinux is "+f.SELinux+"; hutch has no policy for it", "the fence of a security module around containers (user namespace, capabilities and seccomp hold)", "")}
	}
	return []Finding{limits(check, "neither AppArmor nor SELinux is on", "the fence of a security module around containers (user namespace, capabilities and seccomp hold)",
		"boot with apparmor=1 security=apparmor where the kernel has it")}
}

// wantedContainers is for how many more containers root's ranges should have
// room.
const wantedContainers = 16

func checkRootIDs(f Facts) []Finding {
	const check = "root's subuid and subgid ranges"
	if f.SubIDError != "" {
		return []Finding{broken(check, f.SubIDError, "mend /etc/subuid and /etc/subgid")}
	}
	count := idmap.Count(f.Person.UID, f.Person.GID)
	taken := slices.Concat(f.Accounts, f.Taken)
	offered := idmap.Offered(f.SubUIDs, f.SubGIDs, "root", 0)
	room := 0
	for used := slices.Clone(taken); room < wantedContainers; room++ {
		r, err := idmap.Allocate(offered, used, count)
		if err != nil {
			break
		}
		used = append(used, r)
	}
	fix := func() error {
		_, err := subids.Ensure(f.Layout, taken, wantedContainers*idmap.Size)
		return err
	}
	const mend = "hutch doctor --fix"
	var all []Finding
	switch {
	case room == 0:
		// `hutch create` does the same by itself, so this is not broken.
		x := limits(check, "root has no ids for another container", "new containers, until `hutch create` or the command here adds a range", mend)
		x.Fix = fix
		all = append(all, x)
	case room < wantedContainers:
		x := limits(check, fmt.Sprintf("root has ids for %d more containers", room), "more containers than that", mend)
		x.Fix = fix
		all = append(all, x)
	default:
		all = append(all, fine(check, fmt.Sprintf("ids for %d more containers at least", room)))
	}
	for _, c := range f.SubIDComplaints {
		all = append(all, limits(check, "a line is skipped: "+c, "whoever that line was meant for", "mend that line"))
	}
	return all
}

func checkPersonIDs(f Facts) []Finding {
	if f.Person.UID == 0 || f.SubIDError != "" {
		return nil
	}
	check := "subuid and subgid ranges of " + f.Person.Name
	offered := idmap.Offered(f.SubUIDs, f.SubGIDs, f.Person.Name, f.Person.UID)
	if r, err := idmap.Allocate(offered, nil, idmap.Size); err == nil {
		return []Finding{fine(check, r.String())}
	}
	mend := "usermod --add-subuids START-END --add-subgids START-END " + f.Person.Name
	every := append(slices.Clone(f.Accounts), f.Taken...)
	for _, d := range slices.Concat(f.SubUIDs, f.SubGIDs) {
		every = append(every, d.Range)
	}
	// SUB_UID_MIN and SUB_UID_MAX of login.defs(5).
	if r, err := idmap.Allocate([]idmap.Range{{Start: 100000, Count: 600100000 - 100000}}, every, idmap.Size); err == nil {
		mend = strings.ReplaceAll(mend, "START-END", r.String())
	}
	return []Finding{limits(check, "no 65536 ids in a row", "containers without root", mend)}
}

func checkForwarding(f Facts) []Finding {
	const check = "forwarding"
	var all []Finding
	if f.Sysctls["net.ipv4.conf.all.route_localnet"] == "1" {
		all = append(all, limits(check, "net.ipv4.conf.all.route_localnet is 1: packets from elsewhere may be for 127.0.0.0/8", "the fence around services that listen on 127.0.0.1; hutch's own rules still drop such packets",
			"sysctl -w net.ipv4.conf.all.route_localnet=0"))
	}
	if _, has := f.Sysctls["net.ipv6.conf.all.disable_ipv6"]; !has || f.Sysctls["net.ipv6.conf.all.disable_ipv6"] == "1" {
		all = append(all, limits(check, "the host has no IPv6", "IPv6 inside containers", "sysctl -w net.ipv6.conf.all.disable_ipv6=0, where the kernel has it"))
	}
	detail := "off: hutchd turns it on while containers need it, for its own link, and back"
	if f.Sysctls["net.ipv4.ip_forward"] == "1" {
		detail = "on already (net.ipv4.ip_forward is 1); hutch leaves it"
	}
	return append(all, fine(check, detail))
}

var firewalls = []struct {
	firewall Firewall
	detail   string
}{
	{Ufw, "active; its rules stay, containers are filtered in a network namespace of their own"},
	{Firewalld, "active; its rules stay, containers are filtered in a network namespace of their own"},
	{Docker, "its rules drop what it does not know; hutchd adds an accept for its own link to DOCKER-USER"},
	{Libvirt, "has networks of its own; the container subnet is chosen beside them"},
	{NftablesUnit, "enabled; its reload flushes all rules, hutchd then puts its own back"},
	{IPTablesLegacy, "tables of iptables-legacy are in use, which nft does not list; they are consulted beside hutch's rules"},
}

func checkFirewalls(f Facts) []Finding {
	var all []Finding
	for _, known := range firewalls {
		if slices.Contains(f.Firewalls, known.firewall) {
			all = append(all, fine("firewall: "+string(known.firewall), known.detail))
		}
	}
	if all == nil {
		all = []Finding{fine("firewall", "no other program manages rules")}
	}
	return all
}

func checkNetd(f Facts) []Finding {
	const check = "hutchd"
	switch {
	case f.Netd == nil:
		return nil
	case f.Netd.Error != "":
		return []Finding{broken(check, "runs and does not answer: "+f.Netd.Error, "end that hutchd, and the next `hutch start` begins another")}
	case !f.Netd.Running:
		return []Finding{fine(check, "not running; hutch starts it with the first container that has a network")}
	}
	return []Finding{fine(check, "running")}
}

func checkDisplay(f Facts) []Finding {
	const check = "X server"
	d := f.Display
	switch {
	case d == nil:
		return nil
	case d.Name == "":
		return []Finding{limits(check, "no display was found for this session", "windows; programs without them run", "run hutch from a desktop session, or set DISPLAY")}
	case d.Error != "":
		return []Finding{limits(check, fmt.Sprintf("%.60q can not be reached: %s", d.Name, d.Error), "windows; programs without them run", "check DISPLAY and XAUTHORITY of the session")}
	case !d.Security:
		return []Finding{limits(check, fmt.Sprintf("%.60q has no SECURITY extension (Debian's Xwayland is built without)", d.Name), `display = "untrusted": "auto" gives no screen`,
			`hutch config set NAME display trusted, for programs that may see all your windows`)}
	}
	return []Finding{fine(check, fmt.Sprintf("%.60q, with SECURITY", d.Name))}
}

// programs that hutch starts, and what they are for.
var programs = []struct{ name, use string }{
	{"mmdebstrap", "making images from Debian's packages"},
	{"xz", "unpacking images fast"},
	{"newuidmap", "making images without root"},
	{"newgidmap", "making images without root"},
}

func checkPrograms(f Facts) []Finding {
	const check = "programs"
	var missing, uses []string
	miss := func(name, use string) {
		missing = append(missing, name)
		if !slices.Contains(uses, use) {
			uses = append(uses, use)
		}
	}
	for _, p := range programs {
		if !f.Programs[p.name] {
			miss(p.name, p.use)
		}
	}
	if !f.Keyring {
		miss(archiveKeys, "trusting Debian's packages")
	}
	if missing == nil {
		return []Finding{fine(check, "all are there")}
	}
	return []Finding{limits(check, "missing: "+strings.Join(missing, ", "), strings.Join(uses, ", "), f.System.installCommand(missing))}
}

const (
	neededBytes   = 1 << 30 // an image of a minimal system while it is made
	wishedBytes   = 5 << 30 // with a desktop program or two
	wishedInodes  = 100_000
	neededInodes  = 20_000
	bytesPerGiB   = 1 << 30
	diskMendWords = "hutch image prune, or make room"
)

func checkDisk(f Facts) []Finding {
	const check = "disk"
	d := f.Disk
	if d.Error != "" {
		return []Finding{broken(check, d.Error, "make the folder readable, and mount what should be there")}
	}
	detail := fmt.Sprintf("%s: %.1f GiB free", d.Path, float64(d.FreeBytes)/bytesPerGiB)
	switch {
	case d.FreeBytes < neededBytes || d.HasInodes && d.FreeInodes < neededInodes:
		if d.HasInodes {
			detail += fmt.Sprintf(", room for %d files", d.FreeInodes)
		}
		return []Finding{broken(check, detail+": not enough for one image", diskMendWords)}
	case d.FreeBytes < wishedBytes || d.HasInodes && d.FreeInodes < wishedInodes:
		if d.HasInodes {
			detail += fmt.Sprintf(", room for %d files", d.FreeInodes)
		}
		return []Finding{limits(check, detail, "large images", diskMendWords)}
	}
	return []Finding{fine(check, detail)}
}

func checkLeftovers(f Facts) []Finding {
	const check = "leftovers"
	if len(f.Leftovers) == 0 {
		return []Finding{fine(check, "none")}
	}
	shown := f.Leftovers[:min(len(f.Leftovers), 5)]
	detail := strings.Join(shown, ", ")
	if n := len(f.Leftovers) - len(shown); n > 0 {
		detail += fmt.Sprintf(" and %d more", n)
	}
	return []Finding{limits(check, "of a crash: "+detail, "disk and names that they hold", "hutch cleanup")}
}
