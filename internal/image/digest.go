package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of a tree that is taken into the store. A tree deeper than any program
// makes is one that was made to break those who walk it.
const (
	maxDepth   = 1000
	maxEntries = 4_000_000
)

// A measure is what a walk over a tree finds out.
type measure struct {
	digest string
	size   int64 // bytes on disk, each file once
}

// measureTree walks a tree by descriptors, never through a symbolic link, and
// returns the digest of its content and its size on disk. The digest covers, in
// the order of the names: type, mode, owner, device number, content, target,
// hard links, and the attributes that are kept of a tree; not times and inode
// numbers, so that the same tree made twice has the same digest.
func measureTree(ctx context.Context, dir string) (measure, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return measure{}, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	root := os.NewFile(uintptr(fd), dir)
	defer root.Close()
	d := &digester{ctx: ctx, sum: sha256.New(), links: map[inode]string{}, buf: make([]byte, 128<<10)}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return measure{}, err
	}
	if err := d.folder(root, ".", &st, 0); err != nil {
		return measure{}, fmt.Errorf("read %s: %w", dir, err)
	}
	return measure{digestPrefix + hex.EncodeToString(d.sum.Sum(nil)), d.size}, nil
}

type inode struct{ dev, ino uint64 }

type digester struct {
	ctx     context.Context
	sum     hash.Hash
	size    int64
	entries int
	links   map[inode]string // files with several names, by the first of them
	buf     []byte
}

func (d *digester) head(name string, st *unix.Stat_t) {
	fmt.Fprintf(d.sum, "%q %o %d:%d %d\n", name, st.Mode, st.Uid, st.Gid, st.Rdev)
	d.size += st.Blocks * 512 // stat(2): always this unit
}

func (d *digester) folder(f *os.File, name string, st *unix.Stat_t, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%.200q: more than %d folders deep", name, maxDepth)
	}
	if err := d.ctx.Err(); err != nil {
		return err
	}
	d.head(name, st)
	if err := d.attributes(f); err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	if d.entries += len(names); d.entries > maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	for _, n := range names {
		if err := d.entry(f, n, name+"/"+n, depth); err != nil {
			return err
		}
	}
	return nil
}

func (d *digester) entry(parent *os.File, base, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%.200q: %w", name, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		at := inode{st.Dev, st.Ino}
		if first, seen := d.links[at]; seen {
			fmt.Fprintf(d.sum, "%q link %q\n", name, first)
			return nil
		}
		d.links[at] = name
	}
	switch kind {
	case unix.S_IFLNK:
		d.head(name, &st)
		target := make([]byte, 4096)
		n, err := unix.Readlinkat(int(parent.Fd()), base, target)
		if err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		fmt.Fprintf(d.sum, "%q\n", target[:n])
		return nil
	case unix.S_IFREG, unix.S_IFDIR:
		f, err := openSame(parent, base, &st)
		if err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		defer f.Close()
		if kind == unix.S_IFDIR {
			return d.folder(f, name, &st, depth+1)
		}
		d.head(name, &st)
		if err := d.attributes(f); err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		fmt.Fprintf(d.sum, "%d\n", st.Size)
		if _, err := io.CopyBuffer(struct{ io.Writer }{d.sum}, struct{ io.Reader }{f}, d.buf); err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		return nil
	}
	d.head(name, &st)
	return nil
}

func (d *digester) attributes(f *os.File) error {
	names, err := listAttributes(f)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, n := range names {
		if !keptAttribute(n) {
			continue
		}
		value, err := attribute(f, n)
		if err != nil {
			return err
		}
		fmt.Fprintf(d.sum, "%q=%q\n", n, value)
	}
	return nil
}

// openSame opens a file or folder that was just looked at, and fails where
// another stands in its place.
func openSame(parent *os.File, base string, want *unix.Stat_t) (*os.File, error) {
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	if want.Mode&unix.S_IFMT == unix.S_IFDIR {
		flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Openat(int(parent.Fd()), base, flags, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), base)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, err
	}
	if st.Ino != want.Ino || st.Dev != want.Dev || st.Mode != want.Mode {
		f.Close()
		return nil, fmt.Errorf("it was replaced while it was read")
	}
	return f, nil
}

// keptAttribute says which extended attributes belong to a layer: capabilities
// of files, what programs noted themselves, and overlayfs's marks of what a layer
// hides (Documentation/filesystems/overlayfs.rst). Where a layer's files came
// from, its access lists with ids of the host, labels of the host's security
// module do not.
func keptAttribute(name string) bool {
	switch name {
	case "security.capability", "trusted.overlay.opaque", "trusted.overlay.redirect",
		"trusted.overlay.metacopy", "trusted.overlay.whiteouts":
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func listAttributes(f *os.File) ([]string, error) {
	buf := make([]byte, 1024)
	for {
		n, err := unix.Flistxattr(int(f.Fd()), buf)
		if err == unix.ERANGE {
			if len(buf) >= 64<<10 { // XATTR_LIST_MAX
				return nil, err
			}
			buf = make([]byte, 64<<10)
			continue
		}
		if err == unix.ENOTSUP || n == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
	}
}

func attribute(f *os.File, name string) ([]byte, error) {
	buf := make([]byte, 256)
	n, err := unix.Fgetxattr(int(f.Fd()), name, buf)
	if err == unix.ERANGE {
		buf = make([]byte, 64<<10) // XATTR_SIZE_MAX
		n, err = unix.Fgetxattr(int(f.Fd()), name, buf)
	}
	if err != nil {
		return nil, fmt.Errorf("attribute %q: %w", name, err)
	}
	return buf[:n], nil
}
