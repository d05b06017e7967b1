package doctor

import (
	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/paths"
)

// Facts are all that is judged.
type Facts struct {
	Layout paths.Layout
	System System
	Kernel string // release, as uname -r has it
	// Trials are what was tried on the running kernel: nil is a success. What is
	// not in it was not tried.
	Trials map[Trial]error
	// Sysctls by their name with dots; one that does not exist is not in it.
	Sysctls map[string]string

	Init     string // name of process 1
	Systemd  bool   // systemd runs the host (sd_booted(3))
	Cgroups  Cgroups
	AppArmor bool
	SELinux  string // "", "permissive" or "enforcing"

	SubUIDs, SubGIDs []idmap.Delegation
	SubIDComplaints  []string      // lines that were skipped
	SubIDError       string        // why the files could not be read
	Accounts         []idmap.Range // real users and groups
	Taken            []idmap.Range // ids of containers
	Person           Person

	Firewalls []Firewall
	Programs  map[string]bool // by name: is it there
	Keyring   bool            // Debian's archive keys are there

	Display *Display // nil where nobody could ask
	Netd    *Netd    // nil where nobody could ask

	Disk      Disk
	Leftovers []string // what crashes left behind, in words
}

// System is what os-release(5) says.
type System struct {
	ID     string   // "debian"
	Like   []string // relatives, the nearest first
	Pretty string
}

// A Person is on whose behalf hutch was called; the zero value is root itself.
type Person struct {
	Name string
	UID  uint32
	GID  uint32
}

// A Trial is something that was tried for real.
type Trial string

const (
	TrialUserNamespace Trial = "user namespace"
	TrialMountAPI      Trial = "mount API"      // open_tree, fsopen, move_mount: Linux 5.2
	TrialOverlay       Trial = "overlay"        // a writable one in the folder of containers
	TrialIDMap         Trial = "idmapped mount" // and an overlay on top of it: Linux 5.19
	TrialPidfd         Trial = "pidfd"          // Linux 5.3
	TrialOpenat2       Trial = "openat2"        // Linux 5.6
	TrialSeccomp       Trial = "seccomp"
)

// Cgroups is how control groups are mounted.
type Cgroups struct {
	V2          string            // where cgroup2 is mounted; empty where it is not
	Controllers []string          // of cgroup2
	V1          map[string]string // controller → where it is mounted
}

// A Firewall is a program that also writes rules.
type Firewall string

const (
	Ufw            Firewall = "ufw"
	Firewalld      Firewall = "firewalld"
	Docker         Firewall = "Docker"
	Libvirt        Firewall = "libvirt"
	NftablesUnit   Firewall = "nftables.service"
	IPTablesLegacy Firewall = "iptables-legacy"
)

// A Display is what was found of the person's X server.
type Display struct {
	Name     string // $DISPLAY; empty where there is none
	Error    string // why it could not be reached
	Security bool   // it has the SECURITY extension
}

// Netd is what was found of the network service.
type Netd struct {
	Running bool
	Error   string // why it does not answer though it runs
}

// Disk is the file system that holds containers and images.
type Disk struct {
	Path       string // what was asked about
	Error      string
	FreeBytes  uint64 // for ordinary users
	FreeInodes uint64 // 0 where the file system counts none
	HasInodes  bool
}
