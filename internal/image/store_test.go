package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/testenv"
)

var ctx = context.Background()

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func specOf(t *testing.T, reference string) Spec {
	t.Helper()
	r, err := Parse(reference)
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Reference: r, Arch: "amd64", Mirror: "default", Variant: "system", Recipe: 1}
}

func nobody() (map[string][]string, error) { return nil, nil }

// fill writes a small tree with a file of the given content.
func fill(t *testing.T, dir, content string) {
	t.Helper()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "etc"), 0o755),
		os.WriteFile(filepath.Join(dir, "etc/motd"), []byte(content), 0o644),
		os.Symlink("/etc/motd", filepath.Join(dir, "link")),
	); err != nil {
		t.Fatal(err)
	}
}

// store puts an image into the store.
func (s *Store) store(t *testing.T, reference, content string, base *Image) Image {
	t.Helper()
	g, img, err := s.Begin(ctx, specOf(t, reference), nil)
	if err != nil {
		t.Fatal(err)
	}
	if g == nil {
		return img
	}
	defer g.Abort()
	fill(t, g.Tree(), content)
	img, err = g.Commit(ctx, base)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// left lists all files of the store but locks, to see that nothing is left over.
func (s *Store) left(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, d := range []string{"layers", "index", "staging"} {
		entries, err := os.ReadDir(s.path(d))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, d+"/"+e.Name())
		}
	}
	return names
}

func TestStoreAndFind(t *testing.T) {
	s := newStore(t)
	spec := specOf(t, "debian/bookworm")
	if _, found, err := s.Find(spec); found || err != nil {
		t.Fatalf("an empty store finds something: %v", err)
	}
	base := s.store(t, "debian/bookworm", "one", nil)
	derived := s.store(t, "debian/bookworm + packages [mc]", "two", &base)

	got, found, err := s.Find(spec)
	if err != nil || !found || got.Digest != base.Digest || got.Size == 0 || len(got.Layers) != 1 {
		t.Errorf("found %v, %+v, %v", found, got, err)
	}
	if !slices.Equal(derived.Layers, []string{base.Digest, derived.Digest}) {
		t.Errorf("layers of the derived image: %v", derived.Layers)
	}
	paths, err := s.LayerPaths(derived.Layers)
	if err != nil || len(paths) != 2 {
		t.Fatal(paths, err)
	}
	if data, err := os.ReadFile(filepath.Join(paths[1], "etc/motd")); err != nil || string(data) != "two" {
		t.Errorf("the derived layer holds %q, %v", data, err)
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Reference != derived.Reference {
		t.Errorf("list %v, %v", list, err)
	}
	if info, err := os.Stat(s.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the store is %v, %v", info.Mode(), err)
	}
	if left := s.left(t); len(left) != 4 {
		t.Errorf("the store holds %v", left)
	}
	for _, bad := range []string{"sha256:../../x", "", "sha256:" + strings.Repeat("f", 64)} {
		if _, err := s.LayerPaths([]string{bad}); err == nil {
			t.Errorf("layer %q has a path", bad)
		}
	}
}

func TestOneMakerOthersWait(t *testing.T) {
	s := newStore(t)
	spec := specOf(t, "debian/bookworm")
	first, _, err := s.Begin(ctx, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	const others = 4
	var ready, done sync.WaitGroup
	ready.Add(others)
	for range others {
		done.Go(func() {
			g, img, err := s.Begin(ctx, spec, ready.Done)
			if g != nil || err != nil || img.Reference != "debian/bookworm" {
				t.Errorf("a waiter got %v, %v, %v", g, img, err)
			}
		})
	}
	ready.Wait()
	fill(t, first.Tree(), "one")
	if _, err := first.Commit(ctx, nil); err != nil {
		t.Fatal(err)
	}
	done.Wait()

	// A waiter can give up, and the next takes over from a maker that did.
	spec = specOf(t, "debian/sid")
	first, _, err = s.Begin(ctx, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(ctx)
	if _, _, err := s.Begin(over, spec, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("a waiter that gave up got %v", err)
	}
	if err := first.Abort(); err != nil {
		t.Fatal(err)
	}
	next, _, err := s.Begin(ctx, spec, nil)
	if err != nil || next == nil {
		t.Fatal(next, err)
	}
	if err := errors.Join(next.Abort(), next.Abort()); err != nil {
		t.Error(err)
	}
	if _, err := next.Commit(ctx, nil); err == nil {
		t.Error("an image that was given up can be committed")
	}
}

func TestCrashLeavesOnlyWhatIsSwept(t *testing.T) {
	s := newStore(t)
	kept := s.store(t, "debian/bookworm", "kept", nil)
	want := s.left(t)
	spec := specOf(t, "debian/sid")
	// A crash is a staging without its lock.
	crash := func() {
		g, _, err := s.Begin(ctx, spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, g.Tree(), "half")
		if err := g.unlock(); err != nil {
			t.Fatal(err)
		}
	}
	crash()
	living, _, err := s.Begin(ctx, specOf(t, "debian/trixie"), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Between the two renames of Commit, and while a record was written.
	if err := errors.Join(
		os.Mkdir(s.path("layers", strings.Repeat("a", 64)), 0o755),
		os.Mkdir(s.path("staging", trash+"old"), 0o755),
		os.WriteFile(s.path("index", ".x.json.1.hutch-tmp"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(ctx, nobody); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(living.Tree()); err != nil {
		t.Errorf("an image in the making was swept: %v", err)
	}
	if err := living.Abort(); err != nil {
		t.Fatal(err)
	}
	if left := s.left(t); !slices.Equal(left, want) {
		t.Errorf("after the sweep there is %v, want %v", left, want)
	}
	if _, found, err := s.Find(specOf(t, kept.Reference)); !found || err != nil {
		t.Errorf("the sweep took an image: %v", err)
	}
	// The next maker of the same image clears up, too.
	crash()
	if s.store(t, "debian/sid", "whole", nil); len(s.left(t)) != len(want)+2 {
		t.Errorf("after a new maker there is %v", s.left(t))
	}
}

func TestRemove(t *testing.T) {
	s := newStore(t)
	base := s.store(t, "debian/bookworm", "one", nil)
	derived := s.store(t, "debian/bookworm + packages [mc]", "two", &base)
	used := func() (map[string][]string, error) {
		return map[string][]string{base.Digest: {"gg", "ff", "ff"}}, nil
	}
	_, err := s.Remove(ctx, "debian/bookworm", used)
	if inUse, is := errors.AsType[*InUseError](err); !is || !slices.Equal(inUse.Containers, []string{"ff", "gg"}) {
		t.Errorf("an image in use: %v", err)
	}
	if _, err := s.Remove(ctx, "debian/sid", nobody); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image that is not there: %v", err)
	}
	if _, err := s.Remove(ctx, "debian/bookworm", func() (map[string][]string, error) { return nil, errors.New("stuck") }); err == nil {
		t.Error("removed without knowing who uses it")
	}
	// The base's layer stays while the derived image needs it.
	if gone, err := s.Remove(ctx, "debian/bookworm", nobody); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if _, err := s.LayerPaths(derived.Layers); err != nil {
		t.Error(err)
	}
	if gone, err := s.Remove(ctx, derived.Digest[:20], nobody); err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if left := s.left(t); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func TestPruneKeepsWhatIsUsed(t *testing.T) {
	s := newStore(t)
	a := s.store(t, "debian/bookworm", "one", nil)
	s.store(t, "debian/sid", "two", nil)
	gone, err := s.Prune(ctx, func() (map[string][]string, error) { return map[string][]string{a.Digest: {"ff"}}, nil })
	if err != nil || len(gone) != 1 || gone[0].Reference != "debian/sid" {
		t.Fatal(gone, err)
	}
	if left := s.left(t); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

func TestRemoveWaitsForWhoeverHoldsTheStore(t *testing.T) {
	s := newStore(t)
	s.store(t, "debian/bookworm", "one", nil)
	release, err := s.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Prune(over, nobody); !errors.Is(err, context.Canceled) {
		t.Errorf("pruned what was held: %v", err)
	}
	s.store(t, "debian/sid", "made while held", nil)
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if gone, err := s.Prune(ctx, nobody); err != nil || len(gone) != 2 {
		t.Error(gone, err)
	}
}

func TestDamagedRecords(t *testing.T) {
	s := newStore(t)
	img := s.store(t, "debian/bookworm", "one", nil)
	good, err := os.ReadFile(s.record(img.Key))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cut":          string(good[:len(good)/2]),
		"newer":        strings.Replace(string(good), `"schema": 1`, `"schema": 2`, 1),
		"leads out":    strings.ReplaceAll(string(good), img.Digest, "sha256:../../../etc"),
		"other's":      strings.Replace(string(good), img.Key, strings.Repeat("0", 64), 1),
		"bad name":     strings.Replace(string(good), "debian/bookworm", `debian/\n`, 1),
		"no layers":    strings.Replace(string(good), `"layers": [`, `"layers": [], "x": [`, 1),
		"far too long": string(good) + strings.Repeat(" ", maxRecord),
	} {
		if err := os.WriteFile(s.record(img.Key), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, found, err := s.Find(specOf(t, "debian/bookworm")); err == nil || found || !strings.Contains(err.Error(), "remove the file") {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
		if _, err := s.Prune(ctx, nobody); err == nil {
			t.Errorf("%s: pruned without knowing which layers it needs", name)
		}
	}
	if err := errors.Join(os.WriteFile(s.record(img.Key), good, 0o600), os.RemoveAll(s.layer(img.Digest))); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Find(specOf(t, "debian/bookworm")); found || err != nil {
		t.Errorf("an image without its layer was found (%v)", err)
	}
}

func TestFullAndReadOnlyStores(t *testing.T) {
	testenv.RequireRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	s, err := Open(filepath.Join(dir, "images"))
	if err != nil {
		t.Fatal(err)
	}
	g, _, err := s.Begin(ctx, specOf(t, "debian/bookworm"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, g.Tree(), "one")
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if _, err := g.Commit(ctx, nil); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "image prune") {
		t.Errorf("full disk: %v", err)
	}
	if err := g.Abort(); err != nil {
		t.Error(err)
	}
	if list, err := s.List(); len(list) != 0 || err != nil {
		t.Errorf("half an image: %v, %v", list, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Begin(ctx, specOf(t, "debian/sid"), nil); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "read only") {
		t.Errorf("read-only store: %v", err)
	}
}

func TestDigestSeesEveryChange(t *testing.T) {
	testenv.RequireRoot(t)
	digests := map[string]string{}
	changes := map[string]func(dir string) error{
		"nothing":   func(string) error { return nil },
		"content":   func(d string) error { return os.WriteFile(d+"/etc/motd", []byte("two"), 0o644) },
		"mode":      func(d string) error { return os.Chmod(d+"/etc/motd", 0o4755) },
		"owner":     func(d string) error { return os.Lchown(d+"/link", 5, 0) },
		"target":    func(d string) error { return errors.Join(os.Remove(d+"/link"), os.Symlink("/x", d+"/link")) },
		"new":       func(d string) error { return os.WriteFile(d+"/new", nil, 0o644) },
		"folder":    func(d string) error { return os.Mkdir(d+"/new", 0o755) },
		"hard link": func(d string) error { return os.Link(d+"/etc/motd", d+"/new") },
		"whiteout":  func(d string) error { return unix.Mknod(d+"/new", unix.S_IFCHR, 0) },
		"opaque":    func(d string) error { return unix.Setxattr(d+"/etc", "trusted.overlay.opaque", []byte("y"), 0) },
		"user":      func(d string) error { return unix.Setxattr(d+"/etc/motd", "user.x", []byte("y"), 0) },
	}
	for name, change := range changes {
		dir := t.TempDir()
		fill(t, dir, "one")
		if err := change(dir); err != nil {
			t.Fatal(name, err)
		}
		m, err := measureTree(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		if twin, is := digests[m.digest]; is {
			t.Errorf("%s has the digest of %s", name, twin)
		}
		digests[m.digest] = name
	}
	dir := t.TempDir()
	fill(t, dir, "one")
	if m, err := measureTree(ctx, dir); err != nil || digests[m.digest] != "nothing" {
		t.Errorf("the same tree made twice has another digest (%v)", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":1,"key":"` + strings.Repeat("0", 64) + `","reference":"debian/bookworm","digest":"sha256:` + strings.Repeat("a", 64) + `","layers":["sha256:` + strings.Repeat("a", 64) + `"]}`))
	f.Add([]byte(`{"schema":1,"layers":["../x"]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := decode(data)
		if err != nil {
			return
		}
		for _, l := range img.Layers {
			if digits, is := digestHex(l); !is || strings.ContainsAny(digits, "./") {
				t.Fatalf("layer %q came through", l)
			}
		}
	})
}
