package idmap

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/testenv"
)

// The kernel itself takes every layout, and shows it as it was meant.
func TestTheKernelTakesTheMappings(t *testing.T) {
	testenv.RequireRoot(t)
	for _, layout := range []config.IDs{config.IDsPerson, config.IDsRoot, config.IDsPrivate} {
		for _, person := range []uint32{1000, 65534, 1234567} {
			maps, err := Build(layout, person, 1000, Range{2147221504, Size + 1})
			if err != nil {
				t.Fatal(err)
			}
			kernel := func(m Map) (all []syscall.SysProcIDMap) {
				for _, s := range m {
					all = append(all, syscall.SysProcIDMap{ContainerID: int(s.ContainerID), HostID: int(s.HostID), Size: int(s.Size)})
				}
				return all
			}
			cmd := exec.Command("cat") // until its input ends
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: kernel(maps.UIDs), GidMappings: kernel(maps.GIDs)}
			input, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatalf("%s, person %d: %v", layout, person, err)
			}
			shown, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", cmd.Process.Pid))
			input.Close()
			if waited := cmd.Wait(); err != nil || waited != nil {
				t.Fatal(err, waited)
			}
			var want []string
			for _, s := range maps.UIDs {
				want = append(want, fmt.Sprint(s.ContainerID), fmt.Sprint(s.HostID), fmt.Sprint(s.Size))
			}
			if got := strings.Fields(string(shown)); strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%s, person %d: the kernel has %v, want %v", layout, person, got, want)
			}
		}
	}
}
