package rootfs

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/testenv"
)

// inOwn says that this process of the test is in a mount namespace of its own.
const inOwn = "HUTCH_ROOTFS_TEST_APART"

// TestMain is also the child that locks a mount, and runs the tests of root in a
// mount namespace of their own.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == LockArgument {
		if err := LockMain(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Geteuid() != 0 || os.Getenv(inOwn) != "" {
		os.Exit(m.Run())
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), inOwn+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := c.Run(); c.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(c.ProcessState.ExitCode())
}

// A child is killed with the thread that started it, and threads of ours end all
// the time.
func TestLockOutlivesThreads(t *testing.T) {
	testenv.RequireRoot(t)
	staging, source := t.TempDir(), t.TempDir()
	stop := make(chan struct{})
	var threads sync.WaitGroup
	for range 4 {
		threads.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = sys.OnOwnThread(func() error { return nil })
				}
			}
		})
	}
	defer threads.Wait()
	defer close(stop)
	for i := range 30 {
		mount, err := sys.CloneMount(source, false)
		if err != nil {
			t.Fatal(err)
		}
		locked, err := lock(staging, mount)
		mount.Close()
		if err != nil {
			t.Fatalf("attempt %d: %v", i, err)
		}
		locked.Close()
	}
}

// What was locked can not be made writable by root of a lesser user namespace; the
// same mount unlocked can.
func TestLockedFlagsStay(t *testing.T) {
	testenv.RequireRoot(t)
	staging, source := t.TempDir(), t.TempDir()
	f, err := os.OpenFile(source, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mount, err := Lendable(f, true)
	if err != nil {
		t.Fatal(err)
	}
	defer mount.Close()
	locked, err := lock(staging, mount)
	if err != nil {
		t.Fatal(err)
	}
	defer locked.Close()
	if err := sys.SetMount(locked, 0, unix.MOUNT_ATTR_RDONLY, nil, false); err == nil {
		t.Error("a locked read-only mount was made writable")
	}
	plain, err := Lendable(f, true)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := sys.SetMount(plain, 0, unix.MOUNT_ATTR_RDONLY, nil, false); err != nil {
		t.Errorf("a mount that is not locked stays read-only as well, so this test shows nothing: %v", err)
	}
}
