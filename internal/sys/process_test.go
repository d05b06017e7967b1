package sys

import (
	"bufio"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHears(t *testing.T) {
	c := exec.Command("sh", "-c", "trap : TERM; echo ready; read line")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer in.Close()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p, err := Identify(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Hears(unix.SIGTERM) {
		t.Error("a trap of SIGTERM is not seen")
	}
	if p.Hears(unix.SIGUSR1) {
		t.Error("SIGUSR1, which nobody handles, is heard")
	}
	if p.Stopped() {
		t.Error("a process that waits for input is taken for a stopped one")
	}
	if err := p.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(p.PID, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("it does not stop: %v, %v", status, err)
	}
	if !p.Stopped() {
		t.Error("a process that is stopped is not seen to be")
	}
	if err := p.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if (Process{PID: p.PID, Start: p.Start + 1}).Hears(unix.SIGTERM) {
		t.Error("another process of the same number is taken for it")
	}
}
