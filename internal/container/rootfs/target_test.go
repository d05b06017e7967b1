package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/sys"
)

// Whatever links stand in the way, a mount point is made inside and nowhere else.
func TestMakeTarget(t *testing.T) {
	above := t.TempDir()
	outside := filepath.Join(above, "outside")
	up := strings.Repeat("../", 30)
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	owner := Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	for name, c := range map[string]struct {
		links  map[string]string // path → what it leads to
		target string
		dir    bool
		lands  string // below the root; empty for an error
	}{
		"plain folder":              {nil, "/a/b/c", true, "a/b/c"},
		"plain file":                {nil, "/a/b/c", false, "a/b/c"},
		"climbing":                  {nil, "/../../a", true, "a"},
		"the root":                  {nil, "/", true, ""},
		"the root, climbing":        {nil, "/a/..", true, ""},
		"absolute link":             {map[string]string{"l": outside}, "/l/x", true, outside[1:] + "/x"},
		"climbing link":             {map[string]string{"l": up + outside[1:]}, "/l/x", true, outside[1:] + "/x"},
		"last part a dangling link": {map[string]string{"etc/resolv.conf": "../run/systemd/resolve/stub"}, "/etc/resolv.conf", false, "run/systemd/resolve/stub"},
		"dangling absolute link":    {map[string]string{"etc/resolv.conf": "/run/x/y"}, "/etc/resolv.conf", false, "run/x/y"},
		"links to links":            {map[string]string{"a": "b", "b": "c", "c": "/d/e"}, "/a/f", true, "d/e/f"},
		"a loop":                    {map[string]string{"a": "b", "b": "a"}, "/a/f", true, ""},
		"a link to itself":          {map[string]string{"a": "a"}, "/a", false, ""},
		"a link to the root":        {map[string]string{"a": "/"}, "/a/f", true, "f"},
		"a link that is the target": {map[string]string{"a": "/"}, "/a", true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "root")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for path, to := range c.links {
				path = filepath.Join(dir, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, path); err != nil {
					t.Fatal(err)
				}
			}
			root, err := sys.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			f, err := makeTarget(root, c.target, c.dir, owner)
			if (err == nil) != (c.lands != "") && name != "a link that is the target" {
				t.Fatalf("%v", err)
			}
			if err == nil {
				defer f.Close()
				got, _ := os.Stat("/proc/self/fd/" + filepath.Base(procPath(f)))
				want, err := os.Stat(filepath.Join(dir, c.lands))
				if err != nil || !os.SameFile(got, want) || want.IsDir() != c.dir {
					t.Errorf("it did not land at %s: %v", c.lands, err)
				}
			}
			if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
				t.Errorf("outside are %v, %v", entries, err)
			}
		})
	}
}

func TestMakeTargetOfAnotherKind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := sys.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for target, asDir := range map[string]bool{"/file": true, "/folder": false, "/file/more": true} {
		if f, err := makeTarget(root, target, asDir, Owner{}); err == nil {
			f.Close()
			t.Errorf("%s was taken", target)
		}
	}
}
