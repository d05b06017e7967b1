package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/paths"
)

// ErrNotExist says that there is no container of that name.
var ErrNotExist = errors.New("no such container")

// maxRecord bounds a record, in bytes.
const maxRecord = 1 << 20

const (
	recordFile = "record.json"
	newPrefix  = ".new-"
	oldPrefix  = ".old-"
)

// A Store is the records of one scope.
type Store struct{ layout paths.Layout }

// New returns the store of a layout. Folders are made when they are needed.
func New(l paths.Layout) *Store { return &Store{l} }

// Load returns the record of a container.
func (s *Store) Load(name string) (container.Record, error) {
	var r container.Record
	if err := container.CheckName(name); err != nil {
		return r, err
	}
	path := filepath.Join(s.layout.Container(name), recordFile)
	err := readJSON(path, &r)
	if errors.Is(err, os.ErrNotExist) {
		return r, fmt.Errorf("%s: %w; 'hutch ls' shows which there are", name, ErrNotExist)
	}
	if err != nil {
		return r, err
	}
	if err := checkRecord(r, name); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func checkRecord(r container.Record, name string) error {
	switch {
	case r.Schema > container.Schema:
		return fmt.Errorf("written by a newer hutch (schema %d, this one knows %d); nothing was touched", r.Schema, container.Schema)
	case r.Schema < 1:
		return fmt.Errorf("no schema version in it")
	case r.Name != name:
		return fmt.Errorf("it is about another container: %.70q", r.Name)
	case len(r.ID) != 32 || strings.Trim(r.ID, "0123456789abcdef") != "":
		return fmt.Errorf("id %.40q is not 32 hexadecimal digits", r.ID)
	case len(r.Image.Layers) == 0:
		return errors.New("no layers in it")
	}
	return nil
}

// List returns the records of all containers, by name. A record that can not be
// read is in the error, which names all of them; the others are returned all the
// same.
func (s *Store) List() ([]container.Record, error) {
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	var records []container.Record
	var broken []error
	for _, name := range names {
		r, err := s.Load(name)
		switch {
		case errors.Is(err, ErrNotExist): // removed meanwhile
		case err != nil:
			broken = append(broken, err)
		default:
			records = append(records, r)
		}
	}
	return records, errors.Join(broken...)
}

// Names returns the names of all folders that may be containers.
func (s *Store) Names() ([]string, error) { return names(s.layout.Containers(), os.DirEntry.IsDir) }

// names lists the entries of a folder of ours that are called as a container may
// be; a folder that is not there has none.
func names(dir string, wanted func(os.DirEntry) bool) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		if wanted(e) && container.CheckName(e.Name()) == nil {
			found = append(found, e.Name())
		}
	}
	return found, nil
}

// A Draft is a container being made: a folder nobody looks at until Commit.
type Draft struct {
	Dir   string
	store *Store
}

// Draft begins a container. The folder is on the file system of its final place.
func (s *Store) Draft() (*Draft, error) {
	if err := os.MkdirAll(s.layout.Containers(), 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.layout.Containers(), newPrefix)
	if err != nil {
		return nil, err
	}
	return &Draft{dir, s}, nil
}

// Commit makes the draft a container: the record goes into the folder, the folder
// gets its name, and both are made to last. The caller holds the name's lock.
func (d *Draft) Commit(r container.Record) error {
	if err := checkRecord(r, r.Name); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(d.Dir, recordFile), append(data, '\n'), 0o600); err != nil {
		return err
	}
	final := d.store.layout.Container(r.Name)
	if err := os.Rename(d.Dir, final); err != nil {
		return err
	}
	d.Dir = final
	return atomicfile.SyncDir(filepath.Dir(final))
}

// Discard removes the draft.
func (d *Draft) Discard() error { return os.RemoveAll(d.Dir) }

// Remove takes a container away: at once for everyone who looks, then its files.
// The caller holds the name's lock.
func (s *Store) Remove(name string) error {
	dir := s.layout.Container(name)
	gone, err := os.MkdirTemp(s.layout.Containers(), oldPrefix)
	if err != nil {
		return err
	}
	// Over the empty folder, as rename(2) does and os.Rename refuses.
	if err := unix.Rename(dir, gone); err != nil {
		return errors.Join(&os.LinkError{Op: "rename", Old: dir, New: gone, Err: err}, os.Remove(gone))
	}
	if err := atomicfile.SyncDir(s.layout.Containers()); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// Leftovers lists folders that a crash left: drafts, half removed containers,
// and folders without a record. Only those whose name's lock can be had, or that
// have no name, are sure to be left; the caller sees to that.
func (s *Store) Leftovers() ([]string, error) {
	entries, err := os.ReadDir(s.layout.Containers())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var left []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix) {
			left = append(left, filepath.Join(s.layout.Containers(), e.Name()))
		}
	}
	slices.Sort(left)
	return left, nil
}

func readJSON(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxRecord {
		return fmt.Errorf("%s: %d bytes, a record has at most %d", path, info.Size(), maxRecord)
	}
	if err := json.NewDecoder(f).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
