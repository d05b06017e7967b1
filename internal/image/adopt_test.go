package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/testenv"
)

const shift = 300_000

// unshifted is the layout of a container: uid 1000 is itself, the rest is
// shifted.
func unshifted(uid, gid uint32) (uint32, uint32, error) {
	one := func(id uint32) (uint32, error) {
		switch {
		case id == 1000:
			return 1000, nil
		case id >= shift && id < shift+65536:
			return id - shift, nil
		}
		return 0, fmt.Errorf("id %d is not the container's", id)
	}
	u, err := one(uid)
	g, err2 := one(gid)
	return u, g, errors.Join(err, err2)
}

// capabilityOf is cap_net_raw=ep of a namespace whose root is the given uid, or a
// plain one.
func capabilityOf(root uint32, revision byte) string {
	v := "\x01\x00\x00" + string(revision) + "\x00\x20\x00\x00" + strings.Repeat("\x00", 12)
	if revision == 3 {
		v += string([]byte{byte(root), byte(root >> 8), byte(root >> 16), byte(root >> 24)})
	}
	return v
}

// upper builds an upper folder as packages' scripts leave it, hostile parts
// included, and returns it with a folder outside that may not change.
func upper(t *testing.T, s *Store) (dir, outside string) {
	t.Helper()
	dir, outside = filepath.Join(filepath.Dir(s.dir), "upper"), filepath.Join(filepath.Dir(s.dir), "outside")
	at := func(name string) string { return filepath.Join(dir, name) }
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	write := func(name, content string, mode uint32) {
		do(os.MkdirAll(filepath.Dir(at(name)), 0o755))
		do(os.WriteFile(at(name), []byte(content), 0o600))
		do(os.Lchown(at(name), shift, shift))
		do(unix.Chmod(at(name), mode))
	}
	do(os.Mkdir(outside, 0o755))
	do(os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o640))
	write("usr/bin/su", "su", 0o4755)
	write("usr/bin/ping", "ping", 0o755)
	do(unix.Setxattr(at("usr/bin/ping"), "security.capability", []byte(capabilityOf(shift, 3)), 0))
	write("usr/bin/plain", "plain", 0o755)
	do(unix.Setxattr(at("usr/bin/plain"), "security.capability", []byte(capabilityOf(0, 2)), 0))
	write("usr/bin/other", "other", 0o755)
	do(unix.Setxattr(at("usr/bin/other"), "security.capability", []byte(capabilityOf(shift+5, 3)), 0))
	do(os.Link(at("usr/bin/su"), at("usr/bin/su2")))
	write("home/mara/x", "x", 0o600)
	do(os.Lchown(at("home/mara"), 1000, 1000))
	do(os.Lchown(at("home/mara/x"), 1000, 1000))
	do(unix.Setxattr(at("home/mara/x"), "user.note", []byte("kept"), 0))
	do(unix.Setxattr(at("home"), "trusted.overlay.opaque", []byte("y"), 0))
	do(unix.Setxattr(at("home"), "trusted.overlay.origin", []byte("z"), 0))
	do(unix.Mknod(at("usr/bin/gone"), unix.S_IFCHR, 0))
	do(unix.Mknod(at("usr/bin/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	do(unix.Mkfifo(at("usr/bin/pipe"), 0o666))
	// Links that lead out, in places where something is to be removed or owned.
	do(os.Symlink(filepath.Join(outside, "canary"), at("usr/bin/link")))
	do(os.Symlink(outside, at("tmp")))
	do(os.MkdirAll(at("var/lib/apt"), 0o755))
	do(os.Symlink(outside, at("var/lib/apt/lists")))
	do(os.MkdirAll(at("var/log/app"), 0o755))
	do(os.Symlink(outside, at("var/log/app/out")))
	write("var/log/dpkg.log", "x", 0o644)
	write("var/log/app/deep/log", "x", 0o644)
	write("etc/ssh/ssh_host_ed25519_key", "secret", 0o600)
	write("etc/ssh/sshd_config", "kept", 0o644)
	write("etc/machine-id", "x", 0o444)
	write("etc/hosts", "x", 0o644)
	write("run/x/y", "x", 0o644)
	write("var/cache/apt/archives/a.deb", "x", 0o644)
	do(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Uid == 0 { // folders and nodes made above
			err = errors.Join(err, os.Lchown(path, shift, shift))
		}
		return err
	}))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return dir, outside
}

func TestAdoptUpper(t *testing.T) {
	testenv.RequireRoot(t)
	s := newStore(t)
	base := s.store(t, "debian/bookworm", "base", nil)
	dir, outside := upper(t, s)
	g, _, err := s.Begin(ctx, specOf(t, "debian/bookworm + packages [mc]"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Abort()
	if err := g.AdoptUpper(ctx, dir, unshifted); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(g.Tree(), name) }
	for name, want := range map[string]struct {
		uid  uint32
		mode uint32
	}{
		"usr/bin/su":          {0, unix.S_IFREG | 0o4755},
		"usr/bin/su2":         {0, unix.S_IFREG | 0o4755},
		"usr/bin/ping":        {0, unix.S_IFREG | 0o755},
		"usr/bin/link":        {0, unix.S_IFLNK | 0o777},
		"usr/bin/gone":        {0, unix.S_IFCHR},
		"home/mara/x":         {1000, unix.S_IFREG | 0o600},
		"home/mara":           {1000, unix.S_IFDIR | 0o755},
		"tmp":                 {0, unix.S_IFLNK | 0o777},
		"var/log/app/deep":    {0, unix.S_IFDIR | 0o755},
		"etc/ssh/sshd_config": {0, unix.S_IFREG | 0o644},
		"run":                 {0, unix.S_IFDIR | 0o755},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(at(name), &st); err != nil || st.Uid != want.uid || st.Gid != want.uid || st.Mode != want.mode {
			t.Errorf("%s: owner %d:%d, mode %o, %v; want %d, %o", name, st.Uid, st.Gid, st.Mode, err, want.uid, want.mode)
		}
	}
	for _, name := range []string{
		"usr/bin/null", "usr/bin/pipe", "var/log/dpkg.log", "var/log/app/deep/log", "var/log/app/out", "etc/machine-id",
		"etc/hosts", "etc/ssh/ssh_host_ed25519_key", "run/x", "var/cache/apt/archives",
	} {
		if _, err := os.Lstat(at(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
	for name, want := range map[string]string{
		"usr/bin/ping":  capabilityOf(0, 2),
		"usr/bin/plain": capabilityOf(0, 2),
		"usr/bin/other": "",
	} {
		value := make([]byte, 64)
		n, err := unix.Lgetxattr(at(name), "security.capability", value)
		if got := string(value[:max(n, 0)]); got != want {
			t.Errorf("%s has the capability % x (%v), want % x", name, got, err, want)
		}
	}
	list := make([]byte, 1024)
	n, err := unix.Llistxattr(at("home"), list)
	if err != nil || string(list[:n]) != "trusted.overlay.opaque\x00" {
		t.Errorf("the opaque folder has the attributes %q, %v", list[:max(n, 0)], err)
	}
	var canary unix.Stat_t
	data, err := os.ReadFile(filepath.Join(outside, "canary"))
	if err := errors.Join(err, unix.Stat(filepath.Join(outside, "canary"), &canary)); err != nil || string(data) != "alive" || canary.Mode != unix.S_IFREG|0o640 || canary.Uid != 0 {
		t.Errorf("what links led to changed: %q, %o, %v", data, canary.Mode, err)
	}
	img, err := g.Commit(ctx, &base)
	if err != nil || len(img.Layers) != 2 {
		t.Fatal(img, err)
	}
}

func TestAdoptRefusesForeignOwnersAndDepth(t *testing.T) {
	testenv.RequireRoot(t)
	for name, c := range map[string]struct {
		make func(dir string) error
		says string
	}{
		"owner": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o644) }, "not the container's"},
		"depth": {func(dir string) error {
			fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			for i := 0; i < maxDepth+5 && err == nil; i++ {
				var next int
				err = errors.Join(unix.Mkdirat(fd, "d", 0o755), unix.Fchownat(fd, "d", shift, shift, 0))
				if err == nil {
					next, err = unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
					unix.Close(fd)
					fd = next
				}
			}
			return errors.Join(err, unix.Close(fd))
		}, "folders deep"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			dir := filepath.Join(filepath.Dir(s.dir), "upper")
			if err := errors.Join(os.Mkdir(dir, 0o755), os.Lchown(dir, shift, shift), c.make(dir)); err != nil {
				t.Fatal(err)
			}
			g, _, err := s.Begin(ctx, specOf(t, "debian/sid"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.AdoptUpper(ctx, dir, unshifted); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
			if err := g.Abort(); err != nil {
				t.Error(err)
			}
			if left := s.left(t); len(left) != 0 {
				t.Errorf("left over: %.200q", left)
			}
		})
	}
}

// What ReadFile sees is what the kernel's own overlay shows.
func TestReadFileSeesWhatOverlayfsShows(t *testing.T) {
	testenv.RequireRoot(t)
	tmp := t.TempDir()
	dirs := map[string]string{}
	for _, d := range []string{"low", "mid", "up", "work", "merged"} {
		dirs[d] = filepath.Join(tmp, d)
		if err := os.Mkdir(dirs[d], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put := func(layer, name, content string) {
		path := filepath.Join(dirs[layer], name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(layer, target, name string) {
		if err := os.Symlink(target, filepath.Join(dirs[layer], name)); err != nil {
			t.Fatal(err)
		}
	}
	hide := func(layer, name string) {
		path := filepath.Join(dirs[layer], name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), unix.Mknod(path, unix.S_IFCHR, 0)); err != nil {
			t.Fatal(err)
		}
	}
	put("low", "etc/passwd", "low")
	put("mid", "etc/passwd", "mid")
	put("low", "etc/group", "low")
	put("low", "etc/shadow", "low")
	hide("mid", "etc/shadow")
	put("low", "etc/back", "low")
	hide("mid", "etc/back")
	put("up", "etc/back", "up")
	put("low", "var/a/x", "low")
	put("mid", "var/a/y", "mid")
	if err := unix.Setxattr(filepath.Join(dirs["mid"], "var/a"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	put("low", "dirfile/x", "low")
	put("mid", "dirfile", "a file now")
	put("low", "filedir", "low")
	put("mid", "filedir/x", "mid")
	put("low", "filedir2/x", "low")
	put("mid", "filedir2", "mid")
	put("up", "filedir2/y", "up")
	link("low", "etc", "config")
	link("mid", "/etc/../etc/group", "absolute")
	link("up", "config/passwd", "chain")
	link("low", "../../../../etc/group", "climb")
	link("low", "loop2", "loop1")
	link("mid", "loop1", "loop2")
	link("low", "/etc/passwd", "etc/link")
	layers := []string{dirs["low"], dirs["mid"], dirs["up"]}

	options := fmt.Sprintf("lowerdir=%s:%s,upperdir=%s,workdir=%s,redirect_dir=nofollow", dirs["mid"], dirs["low"], dirs["up"], dirs["work"])
	if err := unix.Mount("overlay", dirs["merged"], "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dirs["merged"], 0) })
	merged, err := unix.Open(dirs["merged"], unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(merged) })
	seen := 0
	for _, name := range []string{
		"etc/passwd", "/etc/passwd", "etc/group", "etc/shadow", "etc/back", "var/a/x", "var/a/y", "dirfile", "dirfile/x", "filedir",
		"filedir/x", "filedir2/x", "filedir2/y", "config/passwd", "absolute", "chain", "climb", "loop1", "etc/link", "etc", "nothing",
		"etc/passwd/x", "../etc/group", "etc/./../etc/group", ".", "",
	} {
		got, err := ReadFile(layers, name)
		want, wantErr := readAsKernel(merged, name)
		if (err == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Errorf("%q: got %q, %v; the kernel shows %q, %v", name, got, err, want, wantErr)
		}
		if HasFile(layers, name) != (err == nil) {
			t.Errorf("%q: HasFile and ReadFile differ", name)
		}
		if err == nil {
			seen++
		}
	}
	if seen < 10 {
		t.Errorf("only %d files were there", seen)
	}
	put("up", "huge", strings.Repeat("x", MaxFile+1))
	if _, err := ReadFile(layers, "huge"); err == nil {
		t.Error("a huge file was read")
	}
	if err := unix.Mkfifo(filepath.Join(dirs["up"], "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(layers, "pipe"); err == nil {
		t.Error("a pipe was read")
	}
	if _, err := ReadFile(layers, "etc/shadow"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is hidden: %v", err)
	}
}

// readAsKernel reads a file as a process chrooted to the folder would.
func readAsKernel(root int, name string) ([]byte, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	return b.Bytes(), err
}
