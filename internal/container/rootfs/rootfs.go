package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// Options of a root filesystem.
type Options struct {
	Layers []string // folders of the image's layers, the lowest first
	Upper  string   // the private layer, owned by shifted ids
	Work   string   // overlayfs's own, on the file system of Upper
	Dir    string   // an existing folder of the caller's, for the layers as the container sees them
	Target string   // where the root filesystem is mounted; the container's root can reach it
	// UIDs and GIDs map the ids inside to the host's; empty for a privileged
	// container.
	UIDs, GIDs []syscall.SysProcIDMap
}

// A Root is a mounted root filesystem: its folder, as no later mount can cover it.
type Root struct{ root *os.File }

// Mount puts the root filesystem together. All of it vanishes with the caller's
// mount namespace.
func Mount(o Options) (*Root, error) {
	layers, err := mountLayers(o)
	if err != nil {
		return nil, err
	}
	if err := mountOverlay(layers, o); err != nil {
		return nil, err
	}
	root, err := sys.OpenRoot(o.Target)
	if err != nil {
		return nil, err
	}
	return &Root{root: root}, nil
}

// Close lets go of the descriptor; the mount stays.
func (r *Root) Close() error { return r.root.Close() }

// mountLayers shows each layer with the container's id mapping and returns where,
// the lowest first. The layers on disk keep their unshifted owners, in a folder
// nobody else can enter.
func mountLayers(o Options) ([]string, error) {
	if len(o.Layers) == 0 {
		return nil, errors.New("a root filesystem needs a layer")
	}
	if len(o.UIDs) == 0 {
		return o.Layers, nil
	}
	userns, err := sys.UserNamespace(o.UIDs, o.GIDs)
	if err != nil {
		return nil, err
	}
	defer userns.Close()
	var shown []string
	for i, layer := range o.Layers {
		target := layerTarget(o, i)
		if err := os.MkdirAll(target, 0o700); err != nil {
			return nil, err
		}
		if err := mountMapped(layer, target, userns); err != nil {
			return nil, err
		}
		shown = append(shown, target)
	}
	return shown, nil
}

func layerTarget(o Options, i int) string { return filepath.Join(o.Dir, "layer", strconv.Itoa(i)) }

func mountMapped(layer, target string, userns *os.File) error {
	mount, err := sys.CloneMount(layer, false)
	if err != nil {
		return err
	}
	defer mount.Close()
	if err := sys.SetMount(mount, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV, 0, userns, false); err != nil {
		return fmt.Errorf("give %s the container's ids: %w; the file system may not support idmapped mounts (mount_setattr(2))", layer, err)
	}
	at, err := sys.OpenRoot(target)
	if err != nil {
		return err
	}
	defer at.Close()
	return sys.MoveMount(mount, at)
}

// mountOverlay stacks the layers with the file system's own configuration calls:
// mount(2) would bound all paths together to one page.
func mountOverlay(layers []string, o Options) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("overlayfs: %w", err)
	}
	defer unix.Close(fs)
	set := func(key, value string) error {
		if err := unix.FsconfigSetString(fs, key, value); err != nil {
			return fmt.Errorf("overlayfs: %s=%s: %w", key, value, err)
		}
		return nil
	}
	// lowerdir takes one list, the topmost first; : and \ are its own (kernel
	// Documentation/filesystems/overlayfs.rst). Our own paths hold neither.
	lower := make([]string, len(layers))
	for i, l := range layers {
		if strings.ContainsAny(l, ":\\,") {
			return fmt.Errorf("overlayfs: %q: ':', ',' and '\\' can not be in a layer's path", l)
		}
		lower[len(layers)-1-i] = l
	}
	options := [][2]string{{"source", "hutch"}, {"upperdir", o.Upper}, {"workdir", o.Work}, {"redirect_dir", "nofollow"}}
	if joined := strings.Join(lower, ":"); len(joined) < fsconfigMax {
		options = append(options, [2]string{"lowerdir", joined})
	} else { // one by one, since Linux 6.7
		for _, l := range lower {
			options = append(options, [2]string{"lowerdir+", l})
		}
	}
	for _, option := range options {
		if err := set(option[0], option[1]); err != nil {
			return err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("overlayfs of %s: %w", o.Upper, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("overlayfs of %s: %w", o.Upper, err)
	}
	mount := os.NewFile(uintptr(fd), o.Upper)
	defer mount.Close()
	at, err := sys.OpenRoot(o.Target)
	if err != nil {
		return err
	}
	defer at.Close()
	return sys.MoveMount(mount, at)
}

// fsconfigMax is the longest value of fsconfig(2), in bytes, with its final NUL.
const fsconfigMax = 256

// An Owner is a pair of host ids.
type Owner struct{ UID, GID uint32 }

// Tmpfs mounts an empty file system in memory on a folder inside; size is in
// bytes.
func (r *Root) Tmpfs(target string, mode uint32, size int64, owner Owner) error {
	at, err := makeTarget(r.root, target, true, owner)
	if err != nil {
		return err
	}
	defer at.Close()
	options := fmt.Sprintf("mode=%o,size=%d,uid=%d,gid=%d", mode, size, owner.UID, owner.GID)
	err = unix.Mount("tmpfs", procPath(at), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	if err != nil {
		return fmt.Errorf("tmpfs on %s: %w", target, err)
	}
	return nil
}

// Lend shows a folder, file or socket of the host inside, before the container
// begins: the container's own namespaces, made later, lock its flags, so that root
// inside can not make a read-only one writable.
func (r *Root) Lend(source *os.File, target string, readOnly bool, owner Owner) error {
	dir, err := isDir(source)
	if err != nil {
		return err
	}
	at, err := makeTarget(r.root, target, dir, owner)
	if err != nil {
		return err
	}
	defer at.Close()
	mount, err := Lendable(source, readOnly)
	if err != nil {
		return err
	}
	defer mount.Close()
	return sys.MoveMount(mount, at)
}

// Lendable clones the mount of what is open, in the caller's mount namespace, with
// the flags that everything lent has.
func Lendable(source *os.File, readOnly bool) (*os.File, error) {
	mount, err := sys.CloneMountOf(source, true)
	if err != nil {
		return nil, err
	}
	flags := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	if readOnly {
		flags |= unix.MOUNT_ATTR_RDONLY
	}
	if err := sys.SetMount(mount, flags, 0, nil, true); err != nil {
		mount.Close()
		return nil, err
	}
	return mount, nil
}

// maxLinks is the most links that are followed to a mount point, as the kernel has
// it (path_resolution(7)).
const maxLinks = 40

// makeTarget opens a mount point inside root, as a process inside would name it,
// making what is missing of it: folders, and last a folder or an empty file. A link
// that leads to what is missing, as many an image's /etc/resolv.conf, is followed.
// None leads out of root, whoever changes it meanwhile.
func makeTarget(root *os.File, target string, dir bool, owner Owner) (*os.File, error) {
	target = path.Clean("/" + target)
	if target == "/" {
		return nil, errors.New("/ can not be mounted over")
	}
	links := 0
	f, err := makePath(root, target, dir, owner, &links)
	if err != nil {
		return nil, fmt.Errorf("mount point %s in the container: %w", target, err)
	}
	isdir, err := isDir(f)
	if err == nil && isdir != dir {
		err = errors.New("is a folder, and a file is to be mounted on it")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("mount point %s in the container: %w", target, err)
	}
	return f, nil
}

// makePath opens a clean absolute path inside root and makes what is missing of it.
func makePath(root *os.File, target string, dir bool, owner Owner, links *int) (*os.File, error) {
	flags := unix.O_PATH
	if dir {
		flags |= unix.O_DIRECTORY
	}
	f, err := sys.OpenIn(root, target, flags, 0)
	if !errors.Is(err, os.ErrNotExist) || target == "/" {
		return f, err
	}
	parent, err := makePath(root, path.Dir(target), true, owner, links)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	name := path.Base(target)
	if err := makeOne(parent, name, dir, owner); err == nil || err != unix.EEXIST {
		if err != nil {
			return nil, &os.PathError{Op: "make", Path: target, Err: err}
		}
		return sys.OpenIn(root, target, flags, 0)
	}
	if *links++; *links > maxLinks {
		return nil, &os.PathError{Op: "make", Path: target, Err: unix.ELOOP}
	}
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(parent.Fd()), name, to)
	if err == unix.EINVAL { // no link: made meanwhile
		return sys.OpenIn(root, target, flags, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "make", Path: target, Err: err}
	}
	if !path.IsAbs(string(to[:n])) {
		return makePath(root, path.Join(path.Dir(target), string(to[:n])), dir, owner, links)
	}
	return makePath(root, path.Clean(string(to[:n])), dir, owner, links)
}

// makeOne makes a folder or an empty file.
func makeOne(parent *os.File, name string, dir bool, owner Owner) error {
	at := int(parent.Fd())
	if dir {
		if err := unix.Mkdirat(at, name, 0o755); err != nil {
			return err
		}
	} else {
		fd, err := unix.Openat(at, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return unix.Fchownat(at, name, int(owner.UID), int(owner.GID), unix.AT_SYMLINK_NOFOLLOW)
}

func isDir(f *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// procPath names an open file for the calls that take no descriptor.
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// Unmount takes away what Mount mounted, of a container that has ended. What is
// not mounted is no error.
func Unmount(o Options) error {
	targets := []string{o.Target}
	for i := range o.Layers {
		targets = append(targets, layerTarget(o, i))
	}
	for _, target := range targets {
		err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return &os.PathError{Op: "unmount", Path: target, Err: err}
		}
	}
	return nil
}
