package attack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/image/unpack"
	"github.com/hutch-project/hutch/internal/testenv"
)

// archiveOf writes an archive of the given headers; a regular file's content is its
// Linkname, which such entries do not use.
func archiveOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// prison is a folder to unpack into, beside canaries that no archive may touch.
type prison struct{ dir, outside string }

func newPrison(t testing.TB) prison {
	t.Helper()
	p := prison{filepath.Join(t.TempDir(), "tree"), ""}
	p.outside = filepath.Join(filepath.Dir(p.dir), "outside")
	for _, d := range []string{p.dir, p.outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(p.outside, "canary"), []byte("alive"), 0o640); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p prison) check(t testing.TB) {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(filepath.Dir(p.dir), func(path string, d fs.DirEntry, err error) error {
		if path == p.dir {
			return fs.SkipDir
		}
		rel, _ := filepath.Rel(filepath.Dir(p.dir), path)
		names[rel] = true
		return err
	})
	if err != nil || len(names) != 3 {
		t.Errorf("beside the tree there is %v (%v), want the canary alone", names, err)
	}
	canary := filepath.Join(p.outside, "canary")
	data, err := os.ReadFile(canary)
	info, err2 := os.Stat(canary)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if string(data) != "alive" || info.Mode().Perm() != 0o640 {
		t.Errorf("the canary became %q, %v", data, info.Mode())
	}
}

// Threats 29 and 30: links and names that lead out of the tree.
func TestArchivesThatReachOut(t *testing.T) {
	for name, c := range map[string]struct {
		entries func(p prison) []tar.Header
		says    string // "" means that it is unpacked, inside
	}{
		"dotdot": {func(p prison) []tar.Header {
			return []tar.Header{{Name: "../outside/canary", Typeflag: tar.TypeReg, Linkname: "dead"}}
		}, ".."},
		"dotdot within": {func(p prison) []tar.Header {
			return []tar.Header{{Name: "a/../../outside/canary", Typeflag: tar.TypeReg, Linkname: "dead"}}
		}, ".."},
		"absolute name": {func(p prison) []tar.Header {
			return []tar.Header{{Name: filepath.Join(p.outside, "canary"), Typeflag: tar.TypeReg, Linkname: "dead"}}
		}, ""},
		"through an absolute link": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "out", Typeflag: tar.TypeSymlink, Linkname: p.outside},
				{Name: "out/canary", Typeflag: tar.TypeReg, Linkname: "dead"}}
		}, "symbolic link"},
		"through a relative link": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "a/out", Typeflag: tar.TypeSymlink, Linkname: "../../outside"},
				{Name: "a/out/new", Typeflag: tar.TypeReg, Linkname: "dead"}}
		}, "symbolic link"},
		"folder over a link": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "out", Typeflag: tar.TypeSymlink, Linkname: p.outside},
				{Name: "out", Typeflag: tar.TypeDir, Mode: 0o777},
				{Name: "out/canary", Typeflag: tar.TypeReg, Linkname: "inside"}}
		}, ""},
		"file over a link": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "canary", Typeflag: tar.TypeSymlink, Linkname: filepath.Join(p.outside, "canary")},
				{Name: "canary", Typeflag: tar.TypeReg, Linkname: "inside", Mode: 0o666}}
		}, ""},
		"parent becomes a link after its folder": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "d/one", Typeflag: tar.TypeReg, Linkname: "1"},
				{Name: "d", Typeflag: tar.TypeSymlink, Linkname: p.outside},
				{Name: "d/canary", Typeflag: tar.TypeReg, Linkname: "dead"}}
		}, "replace a folder"},
		"hard link out": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "l", Typeflag: tar.TypeLink, Linkname: "../outside/canary"},
				{Name: "l", Typeflag: tar.TypeReg, Linkname: "dead", Mode: 0o666}}
		}, ".."},
		"hard link by an absolute name": {func(p prison) []tar.Header {
			return []tar.Header{{Name: "l", Typeflag: tar.TypeLink, Linkname: filepath.Join(p.outside, "canary")}}
		}, "no such file"},
		"hard link through a link": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "out", Typeflag: tar.TypeSymlink, Linkname: p.outside},
				{Name: "l", Typeflag: tar.TypeLink, Linkname: "out/canary"}}
		}, "hard link"},
		"hard link to a link, then written": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "out", Typeflag: tar.TypeSymlink, Linkname: filepath.Join(p.outside, "canary")},
				{Name: "l", Typeflag: tar.TypeLink, Linkname: "out"},
				{Name: "l", Typeflag: tar.TypeReg, Linkname: "inside", Mode: 0o666}}
		}, ""},
		"root is a link": {func(p prison) []tar.Header {
			return []tar.Header{{Name: "./", Typeflag: tar.TypeSymlink, Linkname: p.outside}}
		}, "must be a folder"},
		"long part": {func(p prison) []tar.Header {
			return []tar.Header{{Name: strings.Repeat("x", 300), Typeflag: tar.TypeReg}}
		}, "300 bytes"},
		"long name": {func(p prison) []tar.Header {
			return []tar.Header{{Name: strings.Repeat("x/", 3000), Typeflag: tar.TypeDir}}
		}, "at most 4095"},
		"device": {func(p prison) []tar.Header {
			return []tar.Header{
				{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666},
				{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
				{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o666}}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPrison(t)
			_, err := unpack.Tar(context.Background(), bytes.NewReader(archiveOf(t, c.entries(p)...)), p.dir, unpack.Limits{})
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want an error with %q", err, c.says)
			}
			p.check(t)
			filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.Type()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0 {
					t.Errorf("a device or pipe was made: %s", path)
				}
				return err
			})
		})
	}
}

// An archive unpacked over what another left must not follow it either.
func TestLinksThatLieThereAlready(t *testing.T) {
	p := newPrison(t)
	if err := os.Symlink(p.outside, filepath.Join(p.dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, h := range []tar.Header{
		{Name: "out/new", Typeflag: tar.TypeReg, Linkname: "dead"},
		{Name: "out/new/", Typeflag: tar.TypeDir},
		{Name: "out/new", Typeflag: tar.TypeSymlink, Linkname: "x"},
		{Name: "out/new", Typeflag: tar.TypeLink, Linkname: "out"},
	} {
		_, err := unpack.Tar(context.Background(), bytes.NewReader(archiveOf(t, h)), p.dir, unpack.Limits{})
		if err == nil {
			t.Errorf("%c: unpacked through a link", h.Typeflag)
		}
		p.check(t)
	}
}

// Threat 31.
func TestBombs(t *testing.T) {
	zeros := func(name string, size int64) io.Reader {
		var head bytes.Buffer
		if err := tar.NewWriter(&head).WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		return io.MultiReader(&head, io.LimitReader(zeroes{}, size))
	}
	var many []tar.Header
	for i := range 50 {
		many = append(many, tar.Header{Name: fmt.Sprintf("f%d", i), Typeflag: tar.TypeReg})
	}
	for name, c := range map[string]struct {
		stream io.Reader
		limits unpack.Limits
	}{
		"one large file":      {zeros("big", 1<<40), unpack.Limits{Bytes: 1 << 20}},
		"many files":          {bytes.NewReader(archiveOf(t, many...)), unpack.Limits{Entries: 20}},
		"the sum of all":      {io.MultiReader(zeros("a", 1024), zeros("b", 1024)), unpack.Limits{Bytes: 2000}},
		"all of the defaults": {zeros("big", 1<<50), unpack.Limits{}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPrison(t)
			got, err := unpack.Tar(context.Background(), c.stream, p.dir, c.limits)
			if !errors.Is(err, unpack.ErrLimit) {
				t.Errorf("got %v after %+v, want ErrLimit", err, got)
			}
			if got.Bytes > 2<<20 {
				t.Errorf("%d bytes were written before it was noticed", got.Bytes)
			}
		})
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Threats 30 and 35: what an archive may and may not give to a file.
func TestAttributesOfArchives(t *testing.T) {
	testenv.RequireRoot(t)
	p := newPrison(t)
	v3 := "\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00"
	_, err := unpack.Tar(context.Background(), bytes.NewReader(archiveOf(t,
		tar.Header{Name: "su", Typeflag: tar.TypeReg, Linkname: "x", Mode: 0o4755, Uid: 0, Gid: 42},
		tar.Header{Name: "ping", Typeflag: tar.TypeReg, Linkname: "x", Mode: 0o755, Uid: 7, Gid: 7, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability":    v3,
			"SCHILY.xattr.trusted.overlay.opaque": "y",
			"SCHILY.xattr.security.selinux":       "x",
			"SCHILY.xattr.user.note":              "kept",
		}},
		tar.Header{Name: "dir", Typeflag: tar.TypeDir, Mode: 0o2775, Gid: 50, PAXRecords: map[string]string{
			"SCHILY.xattr.trusted.overlay.redirect": "/etc",
		}},
	)), p.dir, unpack.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{"su": 0o104755, "ping": 0o100755, "dir": 0o042775} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(p.dir, name), &st); err != nil || st.Mode != mode {
			t.Errorf("%s has mode %o (%v), want %o", name, st.Mode, err, mode)
		}
		list := make([]byte, 4096)
		n, err := unix.Llistxattr(filepath.Join(p.dir, name), list)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(list[:n]); strings.Contains(got, "trusted.") || strings.Contains(got, "selinux") {
			t.Errorf("%s has the attributes %q", name, got)
		}
	}
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(filepath.Join(p.dir, "ping"), "security.capability", value)
	if err != nil || n != 20 || value[3] != 2 {
		t.Errorf("the capability is % x (%v), want 20 bytes of revision 2", value[:max(n, 0)], err)
	}
	if n, err := unix.Lgetxattr(filepath.Join(p.dir, "ping"), "user.note", value); err != nil || string(value[:n]) != "kept" {
		t.Errorf("user.note is %q, %v", value[:max(n, 0)], err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archiveOf(f, tar.Header{Name: "a/b", Typeflag: tar.TypeReg, Linkname: "x"}))
	f.Add(archiveOf(f, tar.Header{Name: "../outside/canary", Typeflag: tar.TypeReg, Linkname: "x"}))
	f.Add(archiveOf(f, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../outside"}, tar.Header{Name: "l/canary", Typeflag: tar.TypeReg, Linkname: "x"}))
	f.Add(archiveOf(f, tar.Header{Name: "d", Typeflag: tar.TypeDir}, tar.Header{Name: "d", Typeflag: tar.TypeLink, Linkname: "d"}))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPrison(t)
		unpack.Tar(context.Background(), bytes.NewReader(data), p.dir, unpack.Limits{Entries: 200, Bytes: 1 << 20})
		p.check(t)
	})
}
