package atomicfile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSweep(t *testing.T) {
	for _, test := range []struct {
		names []string
		left  []string
	}{
		{nil, []string{".hutch-tmp", ".x.hutch-tmp", "a.1.hutch-tmp", "subuid"}},
		{[]string{"subuid"}, []string{".a.toml.7.hutch-tmp", ".hutch-tmp", ".x.hutch-tmp", "a.1.hutch-tmp", "subuid"}},
	} {
		dir := t.TempDir()
		for _, name := range []string{".subuid.123.hutch-tmp", ".a.toml.7.hutch-tmp", ".hutch-tmp", ".x.hutch-tmp", "a.1.hutch-tmp", "subuid"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := Sweep(dir, test.names...); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, e := range entries {
			left = append(left, e.Name())
		}
		if !slices.Equal(left, test.left) {
			t.Errorf("Sweep(%v) left %q, want %q", test.names, left, test.left)
		}
	}
	if err := Sweep(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestWriteReplacesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, text := range []string{"old", "new and longer"} {
		if err := Write(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("got %q, %v", got, err)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the file: %v, %v", entries, err)
	}
}
