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
	if (Process{PID: p.PID, Start: p.Start + 1}).Hears(unix.SIGTERM) {
		t.Error("another process of the same number is taken for it")
	}
}
