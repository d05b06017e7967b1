package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// Limits bound what one archive may bring; a zero field takes the value of
// DefaultLimits.
type Limits struct {
	Entries int64 // files, folders, links, whatever
	Bytes   int64 // sum of the sizes of all files, in bytes
}

// DefaultLimits hold any desktop distribution, and stop a bomb before it has
// eaten a disk.
var DefaultLimits = Limits{Entries: 2_000_000, Bytes: 32 << 30}

// The longest path and path element that Linux takes (limits.h), and the largest
// extended attribute (xattr(7)).
const (
	maxPath    = 4095
	maxElement = 255
	maxXattr   = 64 << 10
)

// A Result counts what an archive brought.
type Result struct {
	Entries int64
	Bytes   int64 // sum of the sizes of all files
	Skipped int64 // devices, pipes and sockets, which were left out
}

// ErrLimit is wrapped by the error on an archive that brings more than it may.
var ErrLimit = errors.New("the archive is larger than allowed")

// An EntryError says which entry of the archive was refused, and why. The name is
// the archive's: hostile, and quoted when printed.
type EntryError struct {
	Name string
	Err  error
}

func (e *EntryError) Error() string { return fmt.Sprintf("unpack %.200q: %v", e.Name, e.Err) }

func (e *EntryError) Unwrap() error { return e.Err }

// Tar unpacks a plain tar stream into the folder dest, which exists, and returns
// what it brought. Run as root it keeps the numeric owners, setuid bits, file
// capabilities and attributes of the user class; as another user, owners and
// capabilities are dropped.
//
// Every name is taken relative to dest, "..", symbolic links in the place of a
// parent folder, and hard links to anything outside are errors (CVE-2018-15664
// and its kin); devices, pipes and sockets are left out, as the container gets a
// /dev of its own; attributes of the classes trusted, system and security other
// than security.capability are dropped. The first error ends the work and leaves
// what is there to the caller to remove.
func Tar(ctx context.Context, stream io.Reader, dest string, limits Limits) (Result, error) {
	if limits.Entries == 0 {
		limits.Entries = DefaultLimits.Entries
	}
	if limits.Bytes == 0 {
		limits.Bytes = DefaultLimits.Bytes
	}
	fd, err := unix.Open(dest, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Result{}, fmt.Errorf("unpack into %s: %w", dest, err)
	}
	u := &unpacker{
		root:     os.NewFile(uintptr(fd), dest),
		limits:   limits,
		owner:    os.Geteuid() == 0,
		buf:      make([]byte, 128<<10),
		lastName: "\x00",
	}
	defer u.close()
	archive := tar.NewReader(stream)
	for {
		if err := ctx.Err(); err != nil {
			return u.done, err
		}
		hdr, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.done, fmt.Errorf("unpack: the archive is damaged after %d entries: %w", u.done.Entries, err)
		}
		if err := u.entry(ctx, hdr, archive); err != nil {
			return u.done, &EntryError{hdr.Name, err}
		}
	}
	if err := u.setFolderTimes(); err != nil {
		return u.done, fmt.Errorf("unpack: %w", err)
	}
	return u.done, nil
}

type unpacker struct {
	root     *os.File
	limits   Limits
	owner    bool // numeric owners can be set
	buf      []byte
	done     Result
	folders  []folderTime
	last     *os.File // parent folder of the entry before, kept open
	lastName string
}

type folderTime struct {
	name string
	time time.Time
}

func (u *unpacker) close() {
	if u.last != nil && u.last != u.root {
		u.last.Close()
	}
	u.root.Close()
}

func (u *unpacker) entry(ctx context.Context, hdr *tar.Header, body io.Reader) error {
	u.done.Entries++
	if u.done.Entries > u.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrLimit, u.limits.Entries)
	}
	name, err := relative(hdr.Name)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeXGlobalHeader: // a comment on the whole, as git archive writes it
		return nil
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		u.done.Skipped++
		return nil
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
	default:
		return fmt.Errorf("entries of type %q are not understood", hdr.Typeflag)
	}
	if name == "" {
		if hdr.Typeflag != tar.TypeDir {
			return errors.New("the root of the tree must be a folder")
		}
		u.folders = append(u.folders, folderTime{".", hdr.ModTime})
		return u.dress(u.root, hdr)
	}
	parent, err := u.parent(filepath.Dir(name))
	if err != nil {
		return err
	}
	base := filepath.Base(name)
	switch hdr.Typeflag {
	case tar.TypeDir:
		u.folders = append(u.folders, folderTime{name, hdr.ModTime})
		return u.folder(parent, base, hdr)
	case tar.TypeSymlink:
		return u.symlink(parent, base, hdr)
	case tar.TypeLink:
		return u.link(parent, base, hdr)
	}
	return u.file(ctx, parent, base, hdr, body)
}

// relative turns the name of an entry into a clean path relative to the root of
// the tree, "" being the root itself.
func relative(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("the name has %d bytes, at most %d are possible", len(name), maxPath)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("the name holds a NUL byte")
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return "", errors.New("the name climbs out by .. in it")
		case len(part) > maxElement:
			return "", fmt.Errorf("a part of the name has %d bytes, at most %d are possible", len(part), maxElement)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "/"), nil
}

// parent opens the folder that an entry goes into, making what is missing. Its
// descriptor stays valid for the entries that follow, as folders are never
// removed or replaced.
func (u *unpacker) parent(name string) (*os.File, error) {
	if name == "." {
		return u.root, nil
	}
	if name == u.lastName {
		return u.last, nil
	}
	f, err := sys.OpenBeneath(u.root, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		above, err := u.parent(filepath.Dir(name))
		if err != nil {
			return nil, err
		}
		if err := unix.Mkdirat(int(above.Fd()), filepath.Base(name), 0o755); err != nil {
			return nil, fmt.Errorf("make the folder above it: %w", err)
		}
		f, err = sys.OpenBeneath(u.root, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, err
		}
		return u.keep(name, f), nil
	}
	if errors.Is(err, unix.ELOOP) {
		return nil, errors.New("a folder above it is a symbolic link")
	}
	if err != nil {
		return nil, fmt.Errorf("open the folder above it: %w", cause(err))
	}
	return u.keep(name, f), nil
}

func (u *unpacker) keep(name string, f *os.File) *os.File {
	if u.last != nil {
		u.last.Close()
	}
	u.last, u.lastName = f, name
	return f
}

func (u *unpacker) folder(parent *os.File, base string, hdr *tar.Header) error {
	err := unix.Mkdirat(int(parent.Fd()), base, 0o700)
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err := unix.Fstatat(int(parent.Fd()), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		err = nil
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err := unix.Unlinkat(int(parent.Fd()), base, 0); err != nil {
				return err
			}
			err = unix.Mkdirat(int(parent.Fd()), base, 0o700)
		}
	}
	if err != nil {
		return err
	}
	fd, err := unix.Openat(int(parent.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	return u.dress(f, hdr)
}

func (u *unpacker) symlink(parent *os.File, base string, hdr *tar.Header) error {
	if hdr.Linkname == "" || len(hdr.Linkname) > maxPath || strings.IndexByte(hdr.Linkname, 0) >= 0 {
		return fmt.Errorf("a symbolic link can not have a target of %d bytes", len(hdr.Linkname))
	}
	if err := vacate(parent, base); err != nil {
		return err
	}
	if err := unix.Symlinkat(hdr.Linkname, int(parent.Fd()), base); err != nil {
		return err
	}
	if u.owner {
		if err := unix.Fchownat(int(parent.Fd()), base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	return setTime(int(parent.Fd()), base, hdr.ModTime)
}

func (u *unpacker) link(parent *os.File, base string, hdr *tar.Header) error {
	target, err := relative(hdr.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", hdr.Linkname, err)
	}
	if target == "" {
		return fmt.Errorf("hard link to %.200q: a folder", hdr.Linkname)
	}
	above, err := sys.OpenBeneath(u.root, filepath.Dir(target), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", hdr.Linkname, cause(err))
	}
	defer above.Close()
	var old, new unix.Stat_t
	if err := unix.Fstatat(int(above.Fd()), filepath.Base(target), &old, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("hard link to %.200q: %w", hdr.Linkname, err)
	}
	if unix.Fstatat(int(parent.Fd()), base, &new, unix.AT_SYMLINK_NOFOLLOW) == nil && old.Ino == new.Ino && old.Dev == new.Dev {
		return nil // a link to itself, or told twice
	}
	if err := vacate(parent, base); err != nil {
		return err
	}
	if err := unix.Linkat(int(above.Fd()), filepath.Base(target), int(parent.Fd()), base, 0); err != nil {
		return fmt.Errorf("hard link to %.200q: %w", hdr.Linkname, err)
	}
	return nil
}

func (u *unpacker) file(ctx context.Context, parent *os.File, base string, hdr *tar.Header, body io.Reader) error {
	if hdr.Size < 0 || hdr.Size > u.limits.Bytes-u.done.Bytes {
		return fmt.Errorf("%w: more than %d bytes", ErrLimit, u.limits.Bytes)
	}
	if err := vacate(parent, base); err != nil {
		return err
	}
	fd, err := unix.Openat(int(parent.Fd()), base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	err = u.fill(ctx, f, hdr, body)
	if err == nil {
		err = u.dress(f, hdr)
	}
	if err == nil {
		err = setTime(fd, "", hdr.ModTime)
	}
	return errors.Join(err, f.Close())
}

func (u *unpacker) fill(ctx context.Context, f *os.File, hdr *tar.Header, body io.Reader) error {
	// The copy counts itself: what a header claims of its size is not trusted.
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := body.Read(u.buf)
		u.done.Bytes += int64(n)
		if u.done.Bytes > u.limits.Bytes {
			return fmt.Errorf("%w: more than %d bytes", ErrLimit, u.limits.Bytes)
		}
		if _, err := f.Write(u.buf[:n]); err != nil {
			return cause(err)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// vacate makes room for an entry that the archive names a second time. A folder
// stays: descriptors in use may stand in it.
func vacate(parent *os.File, base string) error {
	err := unix.Unlinkat(int(parent.Fd()), base, 0)
	switch err {
	case nil, unix.ENOENT:
		return nil
	case unix.EISDIR, unix.EPERM:
		return errors.New("it would replace a folder")
	}
	return err
}

// dress gives an open file or folder its owner, mode and attributes, in this
// order: a change of owner clears setuid bits and capabilities (chown(2)).
func (u *unpacker) dress(f *os.File, hdr *tar.Header) error {
	fd := int(f.Fd())
	if u.owner {
		if hdr.Uid < 0 || hdr.Gid < 0 || int64(hdr.Uid) >= 1<<32-1 || int64(hdr.Gid) >= 1<<32-1 {
			return fmt.Errorf("owner %d:%d is not possible", hdr.Uid, hdr.Gid)
		}
		if err := unix.Fchown(fd, hdr.Uid, hdr.Gid); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, uint32(hdr.Mode)&0o7777); err != nil {
		return err
	}
	for record, value := range hdr.PAXRecords {
		name, is := strings.CutPrefix(record, "SCHILY.xattr.")
		if !is || len(name) > maxElement || len(value) > maxXattr {
			continue
		}
		switch {
		case name == "security.capability" && u.owner:
			// In its second or third revision; of the third, a user namespace's
			// own, only the part both share counts here (linux/capability.h).
			capability, err := Capability([]byte(value))
			if err != nil {
				return err
			}
			if err := unix.Fsetxattr(fd, name, capability, 0); err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
		case strings.HasPrefix(name, "user."):
			// A file system without such attributes loses nothing that runs.
			if err := unix.Fsetxattr(fd, name, []byte(value), 0); err != nil && err != unix.ENOTSUP {
				return fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return nil
}

func (u *unpacker) setFolderTimes() error {
	for i := len(u.folders) - 1; i >= 0; i-- {
		f, err := sys.OpenBeneath(u.root, u.folders[i].name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		err = setTime(int(f.Fd()), "", u.folders[i].time)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// setTime sets the time of change of base in the folder dir, or of dir itself
// where base is empty.
func setTime(dir int, base string, t time.Time) error {
	at, err := unix.TimeToTimespec(t)
	if err != nil || t.IsZero() {
		at = unix.Timespec{}
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if base == "" {
		flags = unix.AT_EMPTY_PATH
	}
	if err := unix.UtimesNanoAt(dir, base, []unix.Timespec{at, at}, flags); err != nil {
		return fmt.Errorf("set the time: %w", err)
	}
	return nil
}

// cause strips the path of a PathError: it would be the archive's, unquoted.
func cause(err error) error {
	if pe, is := errors.AsType[*os.PathError](err); is {
		return pe.Err
	}
	return err
}
