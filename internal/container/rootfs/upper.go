package rootfs

import (
	"errors"
	"os"
	"path/filepath"
)

// A File goes into the private layer when a container is created: a regular
// file, or a folder where Dir is set.
type File struct {
	Path  string // relative, clean
	Dir   bool
	Data  []byte
	Mode  os.FileMode
	Owner Owner // host ids
}

// CreateUpper makes the private layer of a new container in dir, with the given
// files, and overlayfs's work folder beside it. Nobody else can see dir yet.
// Parents of files must be listed before them.
func CreateUpper(dir string, root Owner, files []File) error {
	upper := UpperDir(dir)
	for _, d := range []string{upper, WorkDir(dir)} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Lchown(upper, int(root.UID), int(root.GID)); err != nil {
		return err
	}
	for _, f := range files {
		if err := f.create(upper); err != nil {
			return err
		}
	}
	return nil
}

// UpperDir is the private layer below a container's folder.
func UpperDir(dir string) string { return filepath.Join(dir, "upper") }

// WorkDir is overlayfs's own folder below a container's folder.
func WorkDir(dir string) string { return filepath.Join(dir, "work") }

func (f File) create(upper string) error {
	path := filepath.Join(upper, f.Path)
	if f.Dir {
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
	} else {
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = w.Write(f.Data)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
	if err := os.Lchown(path, int(f.Owner.UID), int(f.Owner.GID)); err != nil {
		return err
	}
	return os.Chmod(path, f.Mode) // after the owner: chown clears setuid bits
}
