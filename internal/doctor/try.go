package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/sys"
)

// Try tries what containers need, on the file system that will hold them. Its
// mounts are detached ones, which end with their descriptors, or in a namespace of
// their own; the folder it works in is removed. Without root only what needs none is tried.
func Try(l paths.Layout) map[Trial]error {
	results := map[Trial]error{
		TrialPidfd:   tryPidfd(),
		TrialOpenat2: tryOpenat2(),
		TrialSeccomp: trySeccomp(),
	}
	if os.Geteuid() != 0 {
		return results
	}
	results[TrialMountAPI] = tryMountAPI()
	userns, stop, err := tryUserNamespace()
	results[TrialUserNamespace] = err
	if err == nil {
		defer stop()
	}
	dir, err := os.MkdirTemp(nearestFolder(l.State), trialFolder)
	if err != nil {
		results[TrialOverlay], results[TrialIDMap] = err, err
		return results
	}
	defer os.RemoveAll(dir)
	results[TrialOverlay] = tryOverlay(dir, "")
	if userns == nil {
		results[TrialIDMap] = errors.New("needs a user namespace")
	} else {
		results[TrialIDMap] = tryIDMap(dir, userns)
	}
	return results
}

// trialFolder begins the name of the folder that trials work in.
const trialFolder = ".hutch-doctor-"

// nearestFolder is the folder, or what there is of the way to it.
func nearestFolder(path string) string {
	for path != "/" {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

func tryPidfd() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	return unix.Close(fd)
}

func tryOpenat2() error {
	root, err := sys.OpenRoot("/")
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := sys.OpenIn(root, "proc", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// trySeccomp asks for the actions that the filter uses (seccomp(2), since 4.14).
func trySeccomp() error {
	data, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return err
	}
	have := strings.Fields(string(data))
	for _, action := range []string{"allow", "errno"} {
		found := false
		for _, h := range have {
			found = found || h == action
		}
		if !found {
			return fmt.Errorf("the kernel has no action %q, only %q", action, have)
		}
	}
	return nil
}

func tryMountAPI() error {
	mount, err := sys.CloneMount("/", false)
	if err != nil {
		return err
	}
	defer mount.Close()
	return sys.SetMount(mount, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, 0, nil, false)
}

// trialIDs are only for the moment of the trial, and no file keeps them.
const trialIDs = 2147287040

// tryUserNamespace starts a program as root of a user namespace with ids of its
// own, and returns the namespace.
func tryUserNamespace() (ns *os.File, stop func(), err error) {
	program, err := exec.LookPath("cat")
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(program) // it waits for the end of its input
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: trialIDs, Size: 65536}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: trialIDs, Size: 65536}},
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	end := func() { input.Close(); cmd.Wait() }
	ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	if err != nil {
		end()
		return nil, nil, err
	}
	return ns, func() { ns.Close(); end() }, nil
}

// tryOverlay makes a writable overlay over lower, or over a folder of its own.
func tryOverlay(dir, lower string) error {
	layers := map[string]string{"lowerdir": filepath.Join(dir, "lower"), "upperdir": filepath.Join(dir, "upper"), "workdir": filepath.Join(dir, "work")}
	for _, path := range layers {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	if lower != "" {
		layers["lowerdir"] = lower
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen overlay", err)
	}
	defer unix.Close(fs)
	for option, path := range layers {
		if err := unix.FsconfigSetString(fs, option, path); err != nil {
			return fmt.Errorf("overlay: %s=%s: %w", option, path, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("overlay in %s: %w", dir, err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fsmount", err)
	}
	return unix.Close(mount)
}

// tryIDMap shows a folder with other owners, checks that they are, and makes an
// overlay on top.
func tryIDMap(dir string, userns *os.File) error {
	lower := filepath.Join(dir, "lower")
	if err := os.MkdirAll(lower, 0o755); err != nil {
		return err
	}
	mount, err := sys.CloneMount(lower, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	if err := sys.SetMount(mount, 0, 0, userns, false); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(mount.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Uid != trialIDs {
		return fmt.Errorf("a file of user 0 shows as user %d, not %d", st.Uid, trialIDs)
	}
	// An overlay takes layers only from mounts that are in a mount namespace, before
	// Linux 6.15; so they are mounted in one of a thread's own, as for a container.
	return sys.OnOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return os.NewSyscallError("mount", err)
		}
		at, err := sys.OpenRoot(lower)
		if err != nil {
			return err
		}
		defer at.Close()
		if err := sys.MoveMount(mount, at); err != nil {
			return err
		}
		return tryOverlay(dir, lower)
	})
}
