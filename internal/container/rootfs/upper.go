package rootfs

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
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
// Parents of files must be listed before them. All of it is on the disk when it
// returns, but for the names in dir itself.
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
	made := []string{upper, WorkDir(dir)}
	for _, f := range files {
		if err := f.create(upper); err != nil {
			return err
		}
		made = append(made, filepath.Join(upper, f.Path))
	}
	return syncEach(made)
}

// syncEach puts files and folders on the disk, all at once: the file system's
// journal is then written once or twice, not for each. To sync the whole file system
// would be quicker on an idle machine, and last as long as the person's own copying
// does on another.
func syncEach(paths []string) error {
	failures := make([]error, len(paths))
	var all sync.WaitGroup
	for i, path := range paths {
		all.Go(func() {
			f, err := os.Open(path)
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			failures[i] = err
		})
	}
	all.Wait()
	return errors.Join(failures...)
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
