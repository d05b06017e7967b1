package spec

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Forbidden system calls: the kernel objects behind them are not namespaced, or
// their history is one of escapes. They answer ENOSYS, as in a kernel built
// without them, so that programs take their other way.
var Forbidden = []string{
	"acct",
	"add_key", "keyctl", "request_key", // keyrings are shared by uid, beyond namespaces
	"bpf", "perf_event_open",
	"clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64", "settimeofday", "stime",
	"create_module", "delete_module", "finit_module", "init_module", "get_kernel_syms", "query_module",
	"io_uring_enter", "io_uring_register", "io_uring_setup",
	"ioperm", "iopl",
	"kexec_file_load", "kexec_load",
	"lookup_dcookie", "nfsservctl", "uselib", "_sysctl", "sysfs", "ustat", "vm86", "vm86old",
	"open_by_handle_at", // opens files by number, past every mount (CVE-2014-3519 class)
	"quotactl", "quotactl_fd",
	"swapoff", "swapon",
	"syslog",
	"userfaultfd",
	// 32 bit only: its arguments lie in memory, where no filter sees the address
	// family; the direct calls exist since Linux 4.3.
	"socketcall",
}

// families of sockets that may be made. Others reach past the network namespace
// (AF_VSOCK before Linux 7.0) or open seldom tested parts of the kernel (AF_ALG).
var families = []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK, unix.AF_PACKET}

// Terminal requests that put characters into another's input (CVE-2017-5226,
// CVE-2019-10063). The kernel looks at the low 32 bits only, so must the filter.
const (
	tiocsti   = 0x5412
	tioclinux = 0x541C
)

var (
	eperm  = uint(unix.EPERM)
	enosys = uint(unix.ENOSYS)
)

// Seccomp returns the filter: an allow-list, everything else is ENOSYS. It starts
// from the list that Moby maintains, for a container that has our capabilities,
// less what is forbidden, with our own rules for sockets and terminals.
func Seccomp() (*specs.LinuxSeccomp, error) {
	profile, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		return nil, err
	}
	filter, err := seccomp.LoadProfile(string(profile), &specs.Spec{Process: &specs.Process{
		Capabilities: &specs.LinuxCapabilities{Bounding: Capabilities},
	}})
	if err != nil {
		return nil, fmt.Errorf("the list of system calls: %w", err)
	}
	// Each architecture costs every start and every entry the time to compile its
	// list. Nothing is built for x32; its calls are then of no known architecture.
	filter.Architectures = slices.DeleteFunc(filter.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	filter.DefaultAction = specs.ActErrno
	filter.DefaultErrnoRet = &enosys
	var kept []specs.LinuxSyscall
	for _, rule := range filter.Syscalls {
		if rule.Action != specs.ActAllow {
			continue // the default already refuses
		}
		rule.Names = slices.DeleteFunc(slices.Clone(rule.Names), func(name string) bool {
			return name == "ioctl" || name == "socket" || slices.Contains(Forbidden, name)
		})
		if len(rule.Names) > 0 {
			kept = append(kept, rule)
		}
	}
	allow := func(name string, args ...specs.LinuxSeccompArg) {
		kept = append(kept, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: args})
	}
	for _, family := range families {
		allow("socket", specs.LinuxSeccompArg{Index: 0, Value: family, Op: specs.OpEqualTo})
	}
	for _, m := range allBut32(tiocsti, tioclinux) {
		allow("ioctl", specs.LinuxSeccompArg{Index: 1, Value: m.mask, ValueTwo: m.value, Op: specs.OpMaskedEqual})
	}
	for _, request := range []uint64{tiocsti, tioclinux} {
		kept = append(kept, specs.LinuxSyscall{
			Names: []string{"ioctl"}, Action: specs.ActErrno, ErrnoRet: &eperm,
			Args: []specs.LinuxSeccompArg{{Index: 1, Value: 1<<32 - 1, ValueTwo: request, Op: specs.OpMaskedEqual}},
		})
	}
	// The library opens socketcall by itself wherever socket is allowed, and can not
	// look at what it asks for.
	kept = append(kept, specs.LinuxSyscall{Names: []string{"socketcall"}, Action: specs.ActErrno, ErrnoRet: &eperm})
	filter.Syscalls = kept
	return filter, nil
}

// A masked is the set of all numbers x with x&mask == value.
type masked struct{ mask, value uint64 }

// allBut32 covers all 32 bit numbers but the given ones by disjoint masked sets,
// since an allow-list has no rule for "all but". Bits above the 32nd are in no
// mask: they may be anything.
func allBut32(holes ...uint64) []masked {
	var cover func(prefix, bits uint64, holes []uint64) []masked
	cover = func(prefix, bits uint64, holes []uint64) []masked {
		if len(holes) == 0 {
			return []masked{{mask: (1<<32 - 1) &^ (1<<bits - 1), value: prefix}}
		}
		if bits == 0 {
			return nil
		}
		var zero, one []uint64
		for _, h := range holes {
			if h>>(bits-1)&1 == 0 {
				zero = append(zero, h)
			} else {
				one = append(one, h)
			}
		}
		return append(cover(prefix, bits-1, zero), cover(prefix|1<<(bits-1), bits-1, one)...)
	}
	return cover(0, 32, holes)
}
