package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxFile is the largest file that ReadFile returns, in bytes.
const MaxFile = 1 << 20

// ReadFile returns the content of a file as a container would see it whose root
// is an overlay of the given folders, the lowest first; the last may be a
// container's own upper folder. Nothing is mounted. The trees are hostile: name
// is resolved part by part, symbolic links as in a chroot, whiteouts and opaque
// folders as the kernel does (Documentation/filesystems/overlayfs.rst), and what
// is found is opened by descriptor. What is not a regular file, or is larger than
// MaxFile, is an error; what is not there is fs.ErrNotExist.
func ReadFile(layers []string, name string) ([]byte, error) {
	f, err := resolve(layers, name)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: fmt.Sprintf("%.200q in the image", name), Err: err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFile {
		return nil, &fs.PathError{Op: "read", Path: fmt.Sprintf("%.200q in the image", name), Err: fmt.Errorf("it has more than %d bytes", MaxFile)}
	}
	return data, nil
}

// HasFile says whether ReadFile would find a regular file.
func HasFile(layers []string, name string) bool {
	f, err := resolve(layers, name)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// maxLinks is how many symbolic links are followed (path_resolution(7)).
const maxLinks = 40

// resolve opens the regular file that name leads to.
func resolve(layers []string, name string) (*os.File, error) {
	if len(name) > 4095 || strings.IndexByte(name, 0) >= 0 {
		return nil, fs.ErrInvalid
	}
	stack := &overlay{}
	defer stack.close()
	if err := stack.open(layers); err != nil {
		return nil, err
	}
	todo := strings.Split(name, "/")
	links := 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			stack.up()
			continue
		}
		f, target, err := stack.step(part)
		if err != nil {
			return nil, err
		}
		if target != "" {
			if links++; links > maxLinks {
				return nil, unix.ELOOP
			}
			if path.IsAbs(target) {
				stack.toRoot()
			}
			if todo = append(strings.Split(target, "/"), todo...); len(todo) > 4096 {
				return nil, unix.ENAMETOOLONG
			}
			continue
		}
		if f != nil {
			if slices.ContainsFunc(todo, func(p string) bool { return p != "" }) {
				f.Close()
				return nil, unix.ENOTDIR
			}
			return f, nil
		}
	}
	return nil, unix.EISDIR
}

// An overlay is a place in a stack of layers: for the root and each folder on the
// way from it, the folders of the layers that are merged there, the topmost
// first.
type overlay struct{ way [][]*os.File }

func (o *overlay) close() {
	for len(o.way) > 0 {
		o.drop()
	}
}

func (o *overlay) drop() {
	last := len(o.way) - 1
	for _, f := range o.way[last] {
		f.Close()
	}
	o.way = o.way[:last]
}

// up goes to the folder above; the root is above itself.
func (o *overlay) up() {
	if len(o.way) > 1 {
		o.drop()
	}
}

func (o *overlay) toRoot() {
	for len(o.way) > 1 {
		o.drop()
	}
}

func (o *overlay) open(layers []string) error {
	var roots []*os.File
	o.way = [][]*os.File{nil}
	for _, dir := range slices.Backward(layers) {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		roots = append(roots, os.NewFile(uintptr(fd), dir))
		o.way[0] = roots
	}
	return nil
}

// step goes one name further: into a folder, or it returns an open file, or the
// target of a symbolic link.
func (o *overlay) step(name string) (*os.File, string, error) {
	var merged []*os.File
	fail := func(err error) (*os.File, string, error) {
		for _, f := range merged {
			f.Close()
		}
		return nil, "", err
	}
	for _, dir := range o.way[len(o.way)-1] {
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			return fail(err)
		}
		kind := st.Mode & unix.S_IFMT
		if kind == unix.S_IFDIR {
			f, err := openSame(dir, name, &st)
			if err != nil {
				return fail(err)
			}
			merged = append(merged, f)
			opaque, err := opaque(f)
			if err != nil {
				return fail(err)
			}
			if opaque {
				break
			}
			continue
		}
		if len(merged) > 0 || kind == unix.S_IFCHR && st.Rdev == 0 {
			break // a folder above hides it, or it is a whiteout
		}
		switch kind {
		case unix.S_IFREG:
			f, err := openSame(dir, name, &st)
			return f, "", err
		case unix.S_IFLNK:
			target := make([]byte, 4096)
			n, err := unix.Readlinkat(int(dir.Fd()), name, target)
			return nil, string(target[:n:n]), err
		}
		return nil, "", errors.New("it is no regular file")
	}
	if len(merged) == 0 {
		return nil, "", fs.ErrNotExist
	}
	if len(o.way) > maxDepth {
		return fail(unix.ENAMETOOLONG)
	}
	o.way = append(o.way, merged)
	return nil, "", nil
}

// opaque says whether a folder hides what lies under it. One that was renamed
// with its lower part elsewhere (redirect_dir) can not be followed here.
func opaque(f *os.File) (bool, error) {
	names, err := listAttributes(f)
	if err != nil {
		return false, err
	}
	if slices.Contains(names, "trusted.overlay.redirect") {
		return false, errors.New("a folder on the way was renamed by overlayfs (redirect_dir)")
	}
	if !slices.Contains(names, "trusted.overlay.opaque") {
		return false, nil
	}
	value, err := attribute(f, "trusted.overlay.opaque")
	return string(value) == "y", err
}
