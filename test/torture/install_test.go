package torture

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownImages gives the world an image store of its own that has debian/bookworm.
func (w *world) ownImages() {
	w.t.Helper()
	w.must("create", "first", "debian/bookworm") // the shared store has it from now on
	w.must("rm", "first")
	shared, err := os.Readlink(w.layout.Images())
	if err != nil {
		w.t.Fatal(err)
	}
	w.OwnImages()
	if out, err := exec.Command("cp", "-a", "--reflink=auto", shared, w.layout.Images()).CombinedOutput(); err != nil {
		w.t.Fatalf("copy the image store: %v: %s", err, out)
	}
	for _, dir := range []string{"staging", "locks"} { // what others are at
		if err := os.RemoveAll(filepath.Join(w.layout.Images(), dir)); err != nil {
			w.t.Fatal(err)
		}
	}
	w.must("create", "first", "debian/bookworm", "--init", "app")
	w.must("image", "prune") // what others have installed
}

// TestKilledInstalling kills hutch's programs while packages are installed in a
// container that makes an image.
func TestKilledInstalling(t *testing.T) {
	targets := []string{everything}
	if os.Getenv(TortureVariable) != "" {
		targets = []string{theCommand, theSupervisor, everything, theNetwork, theCommand, everything}
	}
	w := newWorld(t)
	w.ownImages()
	w.must("start", "first")
	w.must("cleanup")
	before := w.census()
	random := rand.New(rand.NewPCG(seed, 2))
	known := map[int]bool{}
	for _, pid := range w.programs(theSupervisor) {
		known[pid] = true
	}
	for i, target := range targets {
		t.Run(fmt.Sprintf("%d kill %s", i, target), func(t *testing.T) {
			w.t = t
			c := w.Command("hutch", "create", victim, "debian/bookworm", "--install", "hello")
			var said bytes.Buffer
			c.Stdout, c.Stderr = &said, &said
			if err := w.Start(w.Host, c); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = c.Wait()
			}()
			var builder int
			for builder == 0 { // the supervisor of the container that installs
				for _, pid := range w.programs(theSupervisor) {
					if !known[pid] {
						builder = pid
					}
				}
				select {
				case <-ended:
					t.Fatalf("hutch create ended before it installed anything: %s", said.String())
				case <-time.After(time.Millisecond):
				}
			}
			delay := time.Duration(random.Float64() * float64(2*time.Second))
			time.Sleep(delay)
			t.Logf("seed %d, point %d: %v after the container that installs has begun, kill %s", seed, i, delay, target)
			victims := map[string][]int{theCommand: {c.Process.Pid}, theSupervisor: {builder}, theNetwork: w.programs(theNetwork)}
			for _, program := range []string{theCommand, theSupervisor, theNetwork} {
				if target == program || target == everything {
					for _, pid := range victims[program] {
						_ = unix.Kill(pid, unix.SIGKILL) // it may have ended before
					}
				}
			}
			<-ended
			t.Logf("cleanup: %s", w.must("cleanup"))
			if _, exists := w.states()[victim]; exists { // it was too quick, or did not need what was killed
				w.must("rm", "--force", victim)
			}
			w.must("image", "prune")
			w.must("cleanup")
			if changed := w.census().changed(before); len(changed) > 0 {
				t.Errorf("not as before:\n%s\nthe command said: %s", strings.Join(changed, "\n"), said.String())
				before = w.census()
			}
		})
	}
	w.t = t
}
