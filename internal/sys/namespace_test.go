package sys

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The first thread of the process, which can not be thrown away, must never be
// the one that enters a namespace.
func TestInNamespaceLeavesTheFirstThreadAtHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	ns, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	home, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			var inside string
			err := InNamespace(ns, unix.CLONE_NEWNS, func() (err error) {
				inside, err = os.Readlink("/proc/thread-self/ns/mnt")
				return err
			})
			if err != nil || inside == home || !strings.HasPrefix(inside, "mnt:") {
				t.Errorf("inside it is %s, %v", inside, err)
			}
		})
		runtime.Gosched()
	}
	all.Wait()
	if now, err := os.Readlink("/proc/self/ns/mnt"); err != nil || now != home {
		t.Errorf("the process is in %s now, was in %s (%v)", now, home, err)
	}
}
