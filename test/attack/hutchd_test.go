package attack

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Threat 27: whoever breaks a parser of hutchd's has its rights. They are those of
// links, rules and sockets, on every thread, and no way back to more; not those of
// files, processes and devices.
func TestHutchdHoldsLittle(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.attached("ff") // it works with what it has
	status, err := w.client().Status()
	if err != nil {
		t.Fatal(err)
	}
	var allowed uint64
	for _, c := range []int{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW} {
		allowed |= 1 << c
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", status.PID))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of hutchd: %v, %v", threads, err)
	}
	for _, thread := range threads {
		for set, value := range capabilities(t, thread) {
			if value&^allowed != 0 {
				t.Errorf("%s: %s holds %#x beside the few that are needed", thread, set, value&^allowed)
			}
			if set == "CapEff" && value == 0 {
				t.Errorf("%s: no capabilities at all: this test sees nothing", thread)
			}
		}
	}
	if own := capabilities(t, "/proc/self/status")["CapEff"]; own&^allowed == 0 {
		t.Error("the test itself holds no more than hutchd: it could not fail")
	}
}

// capabilities reads the sets of a thread (proc_pid_status(5)).
func capabilities(t *testing.T, status string) map[string]uint64 {
	t.Helper()
	f, err := os.Open(status)
	if os.IsNotExist(err) {
		return nil // the thread has ended
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sets := map[string]uint64{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if !strings.HasPrefix(key, "Cap") {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		sets[key] = n
	}
	return sets
}
