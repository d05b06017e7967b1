package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
)

// A Store keeps images in one folder that nobody but root can enter:
//
//	layers/HEX/          trees, by their digest, never changed once there
//	index/KEY.json       one record for each image, written last
//	staging/KEY.RANDOM/  images in the making, and layers on their way out
//	locks/               one for each key, one for the store, one for its users
type Store struct{ dir string }

// maxRecord bounds a record, in bytes; the largest has maxPackages packages.
const maxRecord = 256 << 10

// Open returns the store in a folder, which it makes where it is missing.
func Open(dir string) (*Store, error) {
	s := &Store{dir}
	for _, d := range []string{dir, s.path("layers"), s.path("index"), s.path("staging"), s.path("locks")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, s.explain("open the image store", err)
		}
	}
	// Setuid files lie in there with their true owners (CVE-2025-64507).
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, s.explain("open the image store", err)
	}
	return s, nil
}

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *Store) record(key string) string { return s.path("index", key+".json") }

// explain says what to do about the failures that a person can mend.
func (s *Store) explain(what string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%s: %w: free some space on the file system of %s ('hutch image prune')", what, err, s.dir)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s: %w: %s is on a file system that is mounted read only", what, err, s.dir)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: %w: run hutch as root", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Find returns the image of a spec, where the store has it whole.
func (s *Store) Find(spec Spec) (Image, bool, error) { return s.load(spec.Key()) }

func (s *Store) load(key string) (Image, bool, error) {
	path := s.record(key)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Image{}, false, nil
	}
	if err != nil {
		return Image{}, false, s.explain("read an image's record", err)
	}
	img, err := decode(data)
	if err == nil && img.Key != key {
		err = errors.New("it is another image's")
	}
	if err != nil {
		return Image{}, false, fmt.Errorf("image record %s: %w; remove the file, and the image will be made again", path, err)
	}
	for _, digest := range img.Layers {
		if _, err := os.Lstat(s.layer(digest)); err != nil {
			return Image{}, false, nil // made again by whoever wants it
		}
	}
	return img, true, nil
}

// decode reads a record and refuses one that could lead out of the store.
func decode(data []byte) (Image, error) {
	if len(data) > maxRecord {
		return Image{}, errors.New("it is too long")
	}
	var img Image
	if err := json.Unmarshal(data, &img); err != nil {
		return Image{}, err
	}
	if img.Schema != Schema {
		return Image{}, fmt.Errorf("it has schema %d, this hutch knows %d", img.Schema, Schema)
	}
	if !validKey(img.Key) || len(img.Layers) == 0 || img.Layers[len(img.Layers)-1] != img.Digest {
		return Image{}, errors.New("it does not fit together")
	}
	for _, digest := range img.Layers {
		if _, is := digestHex(digest); !is {
			return Image{}, fmt.Errorf("%.80q is not a digest", digest)
		}
	}
	if _, err := Parse(img.Reference); err != nil {
		return Image{}, err
	}
	return img, nil
}

// layer is the folder of a layer whose digest was checked.
func (s *Store) layer(digest string) string {
	return s.path("layers", strings.TrimPrefix(digest, digestPrefix))
}

// LayerPaths returns the folders of layers, given and returned the lowest first.
// A layer that is not there is an error.
func (s *Store) LayerPaths(layers []string) ([]string, error) {
	var paths []string
	for _, digest := range layers {
		if _, is := digestHex(digest); !is {
			return nil, fmt.Errorf("%.80q is not the digest of a layer", digest)
		}
		path := s.layer(digest)
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("layer %s is not in the image store %s; was it removed by hand?", digest, s.dir)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// List returns all images, the newest first. Records that can not be read are
// told in the error, beside the images that can.
func (s *Store) List() ([]Image, error) {
	entries, err := os.ReadDir(s.path("index"))
	if err != nil {
		return nil, s.explain("list images", err)
	}
	var images []Image
	var failures []error
	for _, e := range entries {
		key, is := strings.CutSuffix(e.Name(), ".json")
		if !is || !validKey(key) {
			continue
		}
		img, found, err := s.load(key)
		if err != nil {
			failures = append(failures, err)
		}
		if found {
			images = append(images, img)
		}
	}
	slices.SortFunc(images, func(a, b Image) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	return images, errors.Join(failures...)
}

// Hold keeps all images from being removed until release is called. Whoever makes
// a container holds the store from Find until the container's record says which
// layers it uses.
func (s *Store) Hold(ctx context.Context) (release func() error, err error) {
	return s.lock(ctx, "use", unix.LOCK_SH, nil)
}

// lock takes a lock of the store and returns what gives it back. waiting is
// called once when it has to wait; it may be nil.
func (s *Store) lock(ctx context.Context, name string, how int, waiting func()) (release func() error, err error) {
	f, err := os.OpenFile(s.path("locks", name), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, s.explain("lock the image store", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return f.Close, nil // closing unlocks, and so does a kill
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			f.Close()
			return nil, s.explain("lock the image store", err)
		}
		if waiting != nil {
			waiting()
			waiting = nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the image store: %w", context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A Staging is an image in the making, and the lock that makes others who want
// the same image wait for it.
type Staging struct {
	store  *Store
	spec   Spec
	dir    string
	unlock func() error
}

// Begin prepares the making of an image. Where the store has it, or another
// maker that Begin waited for has put it there, the image is returned and
// Staging is nil. waiting is called when there is another maker; it may be nil.
func (s *Store) Begin(ctx context.Context, spec Spec, waiting func()) (*Staging, Image, error) {
	key := spec.Key()
	unlock, err := s.lock(ctx, key, unix.LOCK_EX, waiting)
	if err != nil {
		return nil, Image{}, err
	}
	img, found, err := s.load(key)
	if err != nil || found {
		return nil, img, errors.Join(err, unlock())
	}
	g := &Staging{store: s, spec: spec, unlock: unlock}
	err = s.sweepStaging(ctx, key)
	if err == nil {
		g.dir, err = os.MkdirTemp(s.path("staging"), key+".")
	}
	if err == nil {
		err = os.Mkdir(g.Tree(), 0o755)
	}
	if err != nil {
		return nil, Image{}, errors.Join(s.explain("begin an image", err), g.Abort())
	}
	return g, Image{}, nil
}

// Tree is the folder, empty at first, that the root filesystem or the layer goes
// into. What lies beside it goes when the staging does.
func (g *Staging) Tree() string { return filepath.Join(g.dir, "tree") }

// Abort gives the making up and removes all of it. After Commit it does nothing,
// so that it may be deferred.
func (g *Staging) Abort() error {
	if g.unlock == nil {
		return nil
	}
	var err error
	if g.dir != "" {
		err = removeTree(g.dir)
	}
	unlock := g.unlock
	g.unlock = nil
	return errors.Join(err, unlock())
}

// Commit takes the tree into the store: as an image of its own, or as a layer on
// top of a base. The record, written when everything else is on the disk, makes
// the image exist; where Commit fails the image does not, and Abort is to be
// called.
func (g *Staging) Commit(ctx context.Context, base *Image) (Image, error) {
	if g.unlock == nil {
		return Image{}, errors.New("commit an image: it was given up or committed before")
	}
	img, err := g.commit(ctx, base)
	if err != nil {
		return Image{}, g.store.explain("store image "+g.spec.Reference.String(), err)
	}
	// The image is there: what is left over goes now or with the next sweep.
	return img, g.Abort()
}

func (g *Staging) commit(ctx context.Context, base *Image) (Image, error) {
	s := g.store
	m, err := measureTree(ctx, g.Tree())
	if err != nil {
		return Image{}, err
	}
	img := Image{
		Schema:    Schema,
		Key:       g.spec.Key(),
		Reference: g.spec.Reference.String(),
		Digest:    m.digest,
		Layers:    []string{m.digest},
		Arch:      g.spec.Arch,
		Mirror:    g.spec.Mirror,
		Recipe:    g.spec.Recipe,
		Created:   time.Now().UTC(),
		Size:      m.size,
	}
	if base != nil {
		img.Layers = append(slices.Clone(base.Layers), m.digest)
	}
	data, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return Image{}, err
	}
	if _, err := decode(data); err != nil {
		return Image{}, err
	}
	if err := syncFileSystem(g.Tree()); err != nil {
		return Image{}, err
	}
	unlock, err := s.lock(ctx, "store", unix.LOCK_EX, nil)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if _, err := s.LayerPaths(img.Layers[:len(img.Layers)-1]); err != nil {
		return Image{}, err
	}
	// The same content may be there already, as another image's.
	err = os.Rename(g.Tree(), s.layer(m.digest))
	if err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return Image{}, err
	}
	if err := atomicfile.SyncDir(s.path("layers")); err != nil {
		return Image{}, err
	}
	return img, atomicfile.Write(s.record(img.Key), append(data, '\n'), 0o600)
}

// syncFileSystem writes everything of the file system that holds a folder to the
// disk (syncfs(2)): of ten thousand new files that is far quicker than one after
// the other.
func syncFileSystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd())))
}

// removeTree removes a tree, whatever lies in it.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}
