package testenv

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hutch-project/hutch/internal/sys"
	"golang.org/x/sys/unix"
)

// A Netns is a network namespace that a test made. It has no name on disk and
// ends with the test, however the test ends.
type Netns struct {
	File *os.File
	pid  int // the process that holds it
}

// NewNetns makes a network namespace with its loopback up.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	RequireRoot(t)
	RequireTools(t, "ip", "nsenter")
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	started := make(chan error)
	done := make(chan struct{})
	go func() {
		// Pdeathsig is sent when the starting thread ends, so keep that one.
		runtime.LockOSThread()
		started <- holder.Start()
		<-done
	}()
	if err := <-started; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() {
		holder.Process.Kill()
		holder.Wait()
		close(done)
	})
	ns := &Netns{pid: holder.Process.Pid}
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", ns.pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	ns.File = file
	ns.IP(t, "link set lo up")
	return ns
}

// Command prepares a program that will run in the namespace.
func (n *Netns) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(n.pid) + "/ns/net", "--", name}, args...)...)
}

// Run runs a program in the namespace and returns what it printed; a failure
// ends the test.
func (n *Netns) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	c := n.Command(name, args...)
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

// IP runs ip(8) in the namespace once per given line.
func (n *Netns) IP(t testing.TB, lines ...string) {
	t.Helper()
	for _, line := range lines {
		n.Run(t, "ip", strings.Fields(line)...)
	}
}

// Do runs f on a thread that is in the namespace; sockets that f makes stay there.
func (n *Netns) Do(t testing.TB, f func() error) {
	t.Helper()
	if err := sys.InNamespace(n.File, unix.CLONE_NEWNET, f); err != nil {
		t.Fatal(err)
	}
}

// JoinNetns connects two namespaces by a veth pair with the given interface
// names, both up.
func JoinNetns(t testing.TB, a *Netns, ifaceA string, b *Netns, ifaceB string) {
	t.Helper()
	a.IP(t, fmt.Sprintf("link add name %s type veth peer name %s netns %d", ifaceA, ifaceB, b.pid), "link set dev "+ifaceA+" up")
	b.IP(t, "link set dev "+ifaceB+" up")
}
