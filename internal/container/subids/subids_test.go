package subids

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/paths"
)

func layout(t *testing.T) paths.Layout {
	t.Helper()
	l, err := paths.SystemBelow(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := readOptional(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestEnsureAndTakeBack(t *testing.T) {
	l := layout(t)
	if err := os.MkdirAll(filepath.Dir(l.SubUID), 0o755); err != nil {
		t.Fatal(err)
	}
	const before = "ann:100000:65536\n"
	for _, path := range []string{l.SubUID, l.SubGID} {
		if err := os.WriteFile(path, []byte(before), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	added, err := Ensure(l, nil, idmap.Size)
	if err != nil || added == "" {
		t.Fatalf("added %q, %v", added, err)
	}
	for _, path := range []string{l.SubUID, l.SubGID} {
		if got := read(t, path); got != before+added+"\n" {
			t.Errorf("%s:\n%s", path, got)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	if again, err := Ensure(l, nil, idmap.Size); err != nil || again != "" {
		t.Errorf("a second time: %q, %v", again, err)
	}
	for range 2 {
		if err := TakeBack(l, nil); err != nil {
			t.Fatal(err)
		}
		if u, g := read(t, l.SubUID), read(t, l.SubGID); u != before || g != before {
			t.Errorf("taken back:\n%s\n%s", u, g)
		}
	}
	if _, err := os.Stat(l.SubIDRecord()); !os.IsNotExist(err) {
		t.Errorf("the record stayed: %v", err)
	}
}

func TestAFailureLeavesNothing(t *testing.T) {
	l := layout(t)
	// The folder of subgid is not there, so subuid is written and subgid is not.
	if err := os.MkdirAll(filepath.Dir(l.SubUID), 0o755); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "gone")
	l.SubGID = filepath.Join(missing, "subgid")
	if _, err := Ensure(l, nil, idmap.Size); err == nil {
		t.Fatal("it was written nowhere")
	}
	if got := read(t, l.SubUID); got != "" {
		t.Errorf("subuid: %q", got)
	}
	if got := read(t, l.SubIDRecord()); got != "" {
		t.Errorf("record: %q", got)
	}
}

func TestManyAtOnceAddOneLine(t *testing.T) {
	l := layout(t)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if _, err := Ensure(l, nil, idmap.Size); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := strings.Count(read(t, l.SubUID), "root:"); n != 1 {
		t.Errorf("%d lines:\n%s", n, read(t, l.SubUID))
	}
}

// Without its record the line is known by what it says; others' lines stay.
func TestTakeBackWithoutARecord(t *testing.T) {
	l := layout(t)
	const before = "ann:100000:65536\nroot:300000:65536\n"
	if err := os.MkdirAll(filepath.Dir(l.SubUID), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{l.SubUID, l.SubGID} {
		if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	taken := []idmap.Range{{Start: 2000300000, Count: 1}}
	added, err := Ensure(l, taken, 2*idmap.Size)
	if err != nil || added == "" {
		t.Fatalf("added %q, %v", added, err)
	}
	if err := os.RemoveAll(l.State); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := TakeBack(l, taken); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{l.SubUID, l.SubGID} {
			if got := read(t, path); got != before {
				t.Errorf("%s:\n%s\nwant\n%s", path, got, before)
			}
		}
	}
}
