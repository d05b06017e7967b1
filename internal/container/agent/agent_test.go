package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/container/control"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/bash\nmara:x:1000:1000::/home/mara:/bin/zsh\n" +
		"broken\nhigh:x:4294967295:0::/:/x\nneg:x:-1:0::/:/x\nhuge:x:99999999999:0::/:/x\nshort:x:7:7:/:/x\nmara:x:0:0::/evil:/evil\n"
	group = "root:x:0:\naudio:x:29:mara,other\nvideo:x:44:other,mara\nmara:x:1000:mara\nsudo:x:27:maral\nbad:x:x:mara\n"
)

func TestLookup(t *testing.T) {
	for spec, want := range map[string]string{
		"mara":       "mara 1000 1000 [1000 29 44] /home/mara /bin/zsh",
		"1000":       "mara 1000 1000 [1000 29 44] /home/mara /bin/zsh",
		"mara:audio": "mara 1000 29 [] /home/mara /bin/zsh",
		"mara:77":    "mara 1000 77 [] /home/mara /bin/zsh",
		"4711":       "4711 4711 4711 [4711] / ",
		"0":          "root 0 0 [0] /root /bin/bash",
	} {
		u, err := lookup(spec, []byte(passwd), []byte(group))
		if got := fmt.Sprint(u.name, " ", u.uid, " ", u.gid, " ", u.groups, " ", u.home, " ", u.shell); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", spec, got, err, want)
		}
	}
	for _, spec := range []string{"", "nobody", "high", "neg", "huge", "short", "4294967295", "-1", "mara:nogroup", "mara:-1", "mara:", "ma\nra", "broken"} {
		if u, err := lookup(spec, []byte(passwd), []byte(group)); err == nil {
			t.Errorf("%q is %+v", spec, u)
		}
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("mara", []byte(passwd), []byte(group))
	f.Add("0:audio", []byte(passwd), []byte("audio:x:29:\n"))
	f.Add("4294967295", []byte("a:b:c"), []byte(":::\n"))
	f.Fuzz(func(t *testing.T, spec string, passwd, group []byte) {
		u, err := lookup(spec, passwd, group)
		if err != nil {
			return
		}
		if u.uid == 1<<32-1 || u.gid == 1<<32-1 || slices.Contains(u.groups, 1<<32-1) {
			t.Errorf("an id that means none: %+v", u)
		}
		if len(u.groups) > maxGroups || strings.ContainsAny(u.home+u.shell, "\n:") {
			t.Errorf("%d groups, home %q, shell %q", len(u.groups), u.home, u.shell)
		}
	})
}

func TestEnvironment(t *testing.T) {
	u := user{name: "mara", uid: 1000, home: "/home/mara", shell: ""}
	got := environment(u, "xterm", []string{"LANG=de_DE.UTF-8", "A=1", "noequals", "=x"}, []string{"A=2", "B=x=y"})
	want := []string{"HOME=/home/mara", "USER=mara", "LOGNAME=mara", "SHELL=/bin/sh", "PATH=" + userPath, "LANG=de_DE.UTF-8", "TERM=xterm", "A=2", "B=x=y"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := environment(user{name: "root", home: "/root"}, "", nil, nil); value(got, "PATH") != rootPath || value(got, "TERM") != "" {
		t.Errorf("root's: %q", got)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"one", "two", "two/folder"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"one/plain": 0o644, "two/plain": 0o755, "two/only": 0o755, "one/dull": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "one") + ":" + filepath.Join(dir, "two") + ":"
	for _, c := range []struct {
		name, want string
		status     int
	}{
		{"plain", "two/plain", 0}, {"only", "two/only", 0}, {"./two/only", "two/only", 0}, {filepath.Join(dir, "two/only"), "two/only", 0},
		{"dull", "", control.StatusNotExecutable}, {"folder", "", control.StatusNotExecutable}, {"none", "", control.StatusNotFound}, {"", "", control.StatusNotFound},
		{"two/only/more", "", control.StatusNotFound}, {"./none", "", control.StatusNotFound},
	} {
		got, failure := find(c.name, path, dir)
		switch {
		case c.status == 0 && (failure != nil || got != filepath.Join(dir, c.want)):
			t.Errorf("%q is %s, %v", c.name, got, failure)
		case c.status != 0 && (failure == nil || failure.Status != c.status):
			t.Errorf("%q is %s, %+v; want status %d", c.name, got, failure, c.status)
		}
	}
}

func TestAddNull(t *testing.T) {
	for _, c := range []struct {
		files  int
		places []int
		good   bool
	}{{3, nil, true}, {2, []int{0}, true}, {1, []int{0, 2}, true}, {0, []int{0, 1, 2}, true}, {3, []int{0}, false}, {2, nil, false}, {0, []int{2}, false}, {2, []int{-1}, false}, {0, []int{0, 0, 0, 0}, false}} {
		var files []*os.File
		for range c.files {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			defer r.Close()
			files = append(files, r)
		}
		if failure := addNull(&files, c.places); (failure == nil) != c.good {
			t.Errorf("%d files, null at %v: %v", c.files, c.places, failure)
		}
		for _, f := range files {
			f.Close()
		}
	}
}
