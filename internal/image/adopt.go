package image

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/image/unpack"
)

// Unshift turns the owner that a file of a container has on the host into the one
// it has inside. It fails for ids that are not the container's.
type Unshift func(uid, gid uint32) (uint32, uint32, error)

// AdoptUpper takes the upper folder of an overlay, what one container wrote over
// its image, as the staging's tree: the layer that makes a derived image. The
// folder is moved, must be on the store's file system, and the container must
// have ended: nobody else may hold files of it open.
//
// Programs inside wrote it, so all of it is hostile. It is walked by descriptors
// and never through a symbolic link. Owners become what they are inside; setuid
// bits and capabilities, which a change of owner clears, are put back;
// capabilities that are bound to the container's user namespace become plain ones
// (linux/capability.h), others go. Whiteouts and opaque folders stay; devices,
// pipes, sockets and attributes with ids or names of the host go; and so does
// what must differ from container to container or is of no use in an image: see
// fate.
func (g *Staging) AdoptUpper(ctx context.Context, upper string, unshift Unshift) error {
	if err := os.Remove(g.Tree()); err != nil {
		return g.store.explain("adopt a layer", err)
	}
	if err := os.Rename(upper, g.Tree()); err != nil {
		if errors.Is(err, unix.EXDEV) {
			return fmt.Errorf("adopt %s as a layer: it must be on the file system of %s", upper, g.store.dir)
		}
		return g.store.explain("adopt a layer", err)
	}
	fd, err := unix.Open(g.Tree(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "adopt", Path: g.Tree(), Err: err}
	}
	root := os.NewFile(uintptr(fd), g.Tree())
	defer root.Close()
	a := &adopter{ctx: ctx, unshift: unshift, seen: map[inode]bool{}}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := a.folder(root, ".", &st, 0); err != nil {
		return g.store.explain("adopt a layer", err)
	}
	return nil
}

// A verdict says what becomes of a file or folder of an upper folder.
type verdict int

const (
	keep  verdict = iota
	drop          // with all that is in it
	prune         // a folder that stays and loses all files in it, down to the last subfolder
	empty         // a folder that stays and loses all that is in it
)

// fates lists what of a container's files is not the image's.
var fates = map[string]verdict{
	// made per container
	"etc/hostname":                      drop,
	"etc/hosts":                         drop,
	"etc/resolv.conf":                   drop,
	"etc/machine-id":                    drop,
	"var/lib/dbus/machine-id":           drop,
	"var/lib/systemd/random-seed":       drop,
	"var/lib/systemd/credential.secret": drop,
	// traces of the making
	"etc/.pwd.lock":          drop,
	"root/.bash_history":     drop,
	"var/lib/apt/lists":      empty,
	"var/cache/apt":          empty,
	"var/lib/systemd/timers": empty,
	"var/log":                prune, // packages expect their folders in it
	// what does not outlive a boot
	"run":     empty,
	"tmp":     empty,
	"var/tmp": empty,
	"dev":     empty,
	"proc":    empty,
	"sys":     empty,
}

// fate decides about one name, relative to the root, by the verdict on the folder
// it is in.
func fate(name string, above verdict, isFolder bool) verdict {
	switch {
	case above == empty, above == prune && !isFolder:
		return drop
	case above == prune:
		return prune
	}
	if v, is := fates[name]; is {
		if !isFolder && v != drop {
			return keep // a link or whiteout in the place of a folder
		}
		return v
	}
	if dir, base := path.Split(name); dir == "etc/ssh/" && strings.HasPrefix(base, "ssh_host_") {
		return drop
	}
	return keep
}

type adopter struct {
	ctx     context.Context
	unshift Unshift
	entries int
	seen    map[inode]bool // files with several names that are done
}

func (a *adopter) folder(f *os.File, name string, st *unix.Stat_t, depth int) error {
	return a.folderWith(f, name, st, depth, keep)
}

func (a *adopter) folderWith(f *os.File, name string, st *unix.Stat_t, depth int, v verdict) error {
	if depth > maxDepth {
		return fmt.Errorf("%.200q: more than %d folders deep", name, maxDepth)
	}
	if err := a.ctx.Err(); err != nil {
		return err
	}
	if err := a.own(f, st); err != nil {
		return fmt.Errorf("%.200q: %w", name, err)
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("%.200q: %w", name, err)
	}
	if a.entries += len(names); a.entries > maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	for _, n := range names {
		inside := path.Join(name, n)
		if err := a.entry(f, n, inside, depth, v); err != nil {
			return fmt.Errorf("%.200q: %w", inside, err)
		}
	}
	return nil
}

func (a *adopter) entry(parent *os.File, base, name string, depth int, above verdict) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	kind := st.Mode & unix.S_IFMT
	v := fate(name, above, kind == unix.S_IFDIR)
	switch {
	case v == drop && kind == unix.S_IFDIR:
		return a.removeFolder(parent, base, depth)
	case v == drop:
		return unix.Unlinkat(int(parent.Fd()), base, 0)
	}
	switch kind {
	case unix.S_IFDIR:
		f, err := openSame(parent, base, &st)
		if err != nil {
			return err
		}
		defer f.Close()
		return a.folderWith(f, name, &st, depth+1, v)
	case unix.S_IFREG:
		return a.file(parent, base, &st)
	case unix.S_IFLNK:
		uid, gid, err := a.unshift(st.Uid, st.Gid)
		if err != nil {
			return err
		}
		if a.again(&st) {
			return nil
		}
		return unix.Fchownat(int(parent.Fd()), base, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW)
	case unix.S_IFCHR:
		if st.Rdev == 0 { // a whiteout; overlayfs may give all of them one inode
			return unix.Fchownat(int(parent.Fd()), base, 0, 0, unix.AT_SYMLINK_NOFOLLOW)
		}
	}
	return unix.Unlinkat(int(parent.Fd()), base, 0)
}

// again says whether a file with several names was done under another.
func (a *adopter) again(st *unix.Stat_t) bool {
	if st.Nlink < 2 {
		return false
	}
	at := inode{st.Dev, st.Ino}
	if a.seen[at] {
		return true
	}
	a.seen[at] = true
	return false
}

func (a *adopter) file(parent *os.File, base string, st *unix.Stat_t) error {
	if a.again(st) {
		return nil
	}
	f, err := openSame(parent, base, st)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.own(f, st)
}

// own gives an open file or folder its inner owner and takes away what is the
// host's.
func (a *adopter) own(f *os.File, st *unix.Stat_t) error {
	uid, gid, err := a.unshift(st.Uid, st.Gid)
	if err != nil {
		return err
	}
	names, err := listAttributes(f)
	if err != nil {
		return err
	}
	var capability []byte
	for _, n := range names {
		if n == "security.capability" {
			attr, err := attribute(f, n)
			if err != nil {
				return err
			}
			capability = a.capability(attr)
		}
		if n == "security.capability" || !keptAttribute(n) {
			if err := unix.Fremovexattr(int(f.Fd()), n); err != nil && err != unix.ENODATA && !securityLabel(n) {
				return fmt.Errorf("remove attribute %q: %w", n, err)
			}
		}
	}
	if err := unix.Fchown(int(f.Fd()), int(uid), int(gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), st.Mode&0o7777); err != nil {
		return err
	}
	if capability != nil {
		return unix.Fsetxattr(int(f.Fd()), "security.capability", capability, 0)
	}
	return nil
}

// securityLabel says whether an attribute is one that the host's security module
// gives to every file and does not let go (selinux, ima).
func securityLabel(name string) bool {
	return strings.HasPrefix(name, "security.") && name != "security.capability"
}

// capability returns the plain form of a file capability, or nil where it was
// not given by the container's own root.
func (a *adopter) capability(attr []byte) []byte {
	plain, err := unpack.Capability(attr)
	if err != nil {
		return nil
	}
	if len(attr) > len(plain) { // the third revision ends with the root of its namespace
		root := binary.LittleEndian.Uint32(attr[len(plain):])
		if uid, _, err := a.unshift(root, root); err != nil || uid != 0 {
			return nil
		}
	}
	return plain
}

// removeFolder removes a folder and all that is in it, by descriptors.
func (a *adopter) removeFolder(parent *os.File, base string, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d folders deep", maxDepth)
	}
	fd, err := unix.Openat(int(parent.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	if a.entries += len(names); a.entries > maxEntries {
		return fmt.Errorf("more than %d files", maxEntries)
	}
	for _, n := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = a.removeFolder(f, n, depth+1)
		} else {
			err = unix.Unlinkat(fd, n, 0)
		}
		if err != nil {
			return fmt.Errorf("%.200q: %w", n, err)
		}
	}
	return unix.Unlinkat(int(parent.Fd()), base, unix.AT_REMOVEDIR)
}
