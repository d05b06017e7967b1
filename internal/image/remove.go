package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
)

// Used tells which containers use which layers, by digest.
type Used func() (map[string][]string, error)

// An InUseError says which containers keep an image from being removed.
type InUseError struct {
	Reference  string
	Containers []string // sorted
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("image %s is used by %s; remove these containers first ('hutch rm')", e.Reference, strings.Join(e.Containers, ", "))
}

// ErrNotFound is wrapped by the error on an image that the store does not have.
var ErrNotFound = errors.New("not in the image store; see 'hutch image ls'")

// trash begins the names of layers on their way out, in staging.
const trash = "trash."

// Remove removes the images that a name means: a reference (of every
// architecture, mirror and recipe), a digest, or at least 12 hexadecimal digits
// that begin one. It removes all of them or, where a container uses one, none.
func (s *Store) Remove(ctx context.Context, name string, used Used) ([]Image, error) {
	wanted, err := matcher(name)
	if err != nil {
		return nil, err
	}
	return s.remove(ctx, used, func(images []Image, users map[string][]string) ([]Image, error) {
		var chosen []Image
		for _, img := range images {
			if !wanted(img) {
				continue
			}
			if by := users[img.Digest]; len(by) > 0 {
				by = slices.Clone(by)
				slices.Sort(by)
				return nil, &InUseError{img.Reference, slices.Compact(by)}
			}
			chosen = append(chosen, img)
		}
		if len(chosen) == 0 {
			return nil, fmt.Errorf("image %.80q: %w", name, ErrNotFound)
		}
		return chosen, nil
	})
}

// Prune removes all images that no container uses, and returns them.
func (s *Store) Prune(ctx context.Context, used Used) ([]Image, error) {
	return s.remove(ctx, used, func(images []Image, users map[string][]string) ([]Image, error) {
		return slices.DeleteFunc(images, func(img Image) bool { return len(users[img.Digest]) > 0 }), nil
	})
}

// Sweep removes what crashes left behind: images half made, layers that belong to
// no image and no container. It leaves alone what somebody is making.
func (s *Store) Sweep(ctx context.Context, used Used) error {
	_, err := s.remove(ctx, used, func([]Image, map[string][]string) ([]Image, error) { return nil, nil })
	return err
}

// matcher decides which images a name means.
func matcher(name string) (func(Image) bool, error) {
	if digits := strings.TrimPrefix(name, digestPrefix); len(digits) >= 12 && strings.Trim(digits, "0123456789abcdef") == "" {
		return func(img Image) bool { return strings.HasPrefix(img.Digest, digestPrefix+digits) }, nil
	}
	r, err := Parse(name)
	if err != nil {
		return nil, err
	}
	return func(img Image) bool { return img.Reference == r.String() }, nil
}

// remove takes out the records that choose returns, then every layer that no
// record and no container needs. It waits until nobody is between choosing an
// image and using it.
func (s *Store) remove(ctx context.Context, used Used, choose func([]Image, map[string][]string) ([]Image, error)) ([]Image, error) {
	free, err := s.lock(ctx, "use", unix.LOCK_EX, nil)
	if err != nil {
		return nil, err
	}
	defer free()
	unlock, err := s.lock(ctx, "store", unix.LOCK_EX, nil)
	if err != nil {
		return nil, err
	}
	defer unlock()
	users, err := used()
	if err != nil {
		return nil, fmt.Errorf("see which images are in use: %w", err)
	}
	images, err := s.List()
	if err != nil {
		return nil, err // an unreadable record may need a layer
	}
	chosen, err := choose(slices.Clone(images), users)
	if err != nil {
		return nil, err
	}
	for _, img := range chosen {
		if err := os.Remove(s.record(img.Key)); err != nil {
			return nil, s.explain("remove image "+img.Reference, err)
		}
	}
	if len(chosen) > 0 {
		// Records go first: a record without its layers must not survive a power cut.
		if err := atomicfile.SyncDir(s.path("index")); err != nil {
			return nil, err
		}
	}
	needed := map[string]bool{}
	for digest := range users {
		needed[digest] = true
	}
	for _, img := range images {
		if !slices.ContainsFunc(chosen, func(gone Image) bool { return gone.Key == img.Key }) {
			for _, digest := range img.Layers {
				needed[digest] = true
			}
		}
	}
	return chosen, errors.Join(s.removeLayers(needed), s.sweepRecords(images), s.sweepStaging(ctx, ""))
}

// removeLayers removes the layers that are not needed.
func (s *Store) removeLayers(needed map[string]bool) error {
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		return s.explain("remove layers", err)
	}
	var failures []error
	for _, e := range entries {
		if needed[digestPrefix+e.Name()] {
			continue
		}
		// A rename first: no crash leaves half a layer under a layer's name.
		gone := s.path("staging", trash+e.Name())
		if err := os.Rename(s.path("layers", e.Name()), gone); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
			failures = append(failures, s.explain("remove a layer", err))
		}
	}
	return errors.Join(failures...)
}

// sweepRecords removes temporary files of records, and records whose layers are
// gone.
func (s *Store) sweepRecords(images []Image) error {
	entries, err := os.ReadDir(s.path("index"))
	if err != nil {
		return s.explain("sweep records", err)
	}
	var failures []error
	for _, e := range entries {
		if slices.ContainsFunc(images, func(img Image) bool { return e.Name() == img.Key+".json" }) {
			continue
		}
		if err := os.Remove(s.path("index", e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// sweepStaging removes what is in staging and belongs to nobody alive: with a
// key, all of that key, whose lock the caller holds; without, everything whose
// lock can be had at once.
func (s *Store) sweepStaging(ctx context.Context, key string) error {
	entries, err := os.ReadDir(s.path("staging"))
	if err != nil {
		return err
	}
	var failures []error
	for _, e := range entries {
		owner, _, _ := strings.Cut(e.Name(), ".")
		path := s.path("staging", e.Name())
		switch {
		case key != "" && owner == key, key == "" && !validKey(owner):
			failures = append(failures, removeTree(path))
		case key == "":
			unlock, free := s.tryLock(owner)
			if !free {
				continue
			}
			failures = append(failures, removeTree(path), unlock())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(failures...)
}

// tryLock takes the lock of a key where nobody has it.
func (s *Store) tryLock(key string) (unlock func() error, free bool) {
	f, err := os.OpenFile(s.path("locks", key), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, false
	}
	return f.Close, true
}
