package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// TempPattern matches the temporary files that a crash can leave behind; they
// stand beside the file that was to be written: .NAME.RANDOM.hutch-tmp.
const TempPattern = ".*" + tempSuffix

const tempSuffix = ".hutch-tmp"

// baseOfTemp returns the name of the file that a temporary file was to become.
func baseOfTemp(name string) (base string, isTemp bool) {
	rest, dotted := strings.CutPrefix(name, ".")
	rest, suffixed := strings.CutSuffix(rest, tempSuffix)
	dot := strings.LastIndexByte(rest, '.') // before the random digits
	if !dotted || !suffixed || dot <= 0 {
		return "", false
	}
	return rest[:dot], true
}

// Write puts data into path: temporary file in the same folder, write, fsync,
// close, rename, fsync of the folder. On failure the old file stays and no
// temporary file is left.
func Write(path string, data []byte, perm os.FileMode) error {
	if err := replace(path, data, perm, (*os.File).Sync); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Replace is Write for what is void after a power cut anyway: whoever reads sees
// the old or the new content whole, but nothing is made to last.
func Replace(path string, data []byte, perm os.FileMode) error {
	return replace(path, data, perm, func(*os.File) error { return nil })
}

func replace(path string, data []byte, perm os.FileMode, sync func(*os.File) error) (err error) {
	dir, base := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+base+".*"+tempSuffix)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close() // a second Close only says that the first was done
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), ignoreMissing(os.Remove(f.Name())))
		}
	}()
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := sync(f); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Sweep removes the temporary files that a crash left in a folder: of the named
// files, or of all where none is named. The caller sees to it that nobody writes
// there. A folder that does not exist is no error.
func Sweep(dir string, names ...string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	var failures []error
	for _, e := range entries {
		base, isTemp := baseOfTemp(e.Name())
		if isTemp && (len(names) == 0 || slices.Contains(names, base)) {
			failures = append(failures, ignoreMissing(os.Remove(filepath.Join(dir, e.Name()))))
		}
	}
	return errors.Join(failures...)
}

// SyncDir makes the entries of a folder last: a rename or a removal in it
// survives a power cut only after this (fsync(2), "Notes").
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
