package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// root is where all hierarchies are mounted (cgroups(7)).
const root = "/sys/fs/cgroup"

// Find returns the folders of a container below a parent, in every hierarchy, of
// version 1 and 2, made by folders or by systemd's scopes.
func Find(parent, name string) ([]string, error) {
	var found []string
	scope := filepath.Join("machine.slice", parent+"-"+name+".scope")
	for _, pattern := range []string{
		filepath.Join(root, parent, name), filepath.Join(root, "*", parent, name),
		filepath.Join(root, scope), filepath.Join(root, "*", scope),
	} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		found = append(found, dirs...)
	}
	return found, nil
}

// Has says whether the machine has a controller (memory, cpu, pids), in version 1
// or 2: without it, its limit can not be kept.
func Has(controller string) bool {
	for _, file := range []string{filepath.Join(root, "cgroup.controllers"), filepath.Join(root, "unified", "cgroup.controllers")} {
		data, err := os.ReadFile(file)
		if err == nil && slices.Contains(strings.Fields(string(data)), controller) {
			return true
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return false
	}
	for _, e := range entries { // a hierarchy of version 1 may have several: cpu,cpuacct
		if slices.Contains(strings.Split(e.Name(), ","), controller) {
			if _, err := os.Stat(filepath.Join(root, e.Name(), "cgroup.procs")); err == nil {
				return true
			}
		}
	}
	return false
}

// Names returns the names of all containers that have a cgroup below a parent.
func Names(parent string) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, pattern := range []string{filepath.Join(root, parent, "*"), filepath.Join(root, "*", parent, "*")} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			if info, err := os.Lstat(dir); err == nil && info.IsDir() {
				add(filepath.Base(dir))
			}
		}
	}
	prefix := parent + "-"
	for _, pattern := range []string{filepath.Join(root, "machine.slice", prefix+"*.scope"), filepath.Join(root, "*", "machine.slice", prefix+"*.scope")} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			add(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), prefix), ".scope"))
		}
	}
	return names, nil
}

// endTime is how long killed processes may take to be gone.
const endTime = 10 * time.Second

// End kills every process in a container's cgroups and removes them.
func End(parent, name string) error {
	dirs, err := Find(parent, name)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := end(dir); err != nil {
			return err
		}
	}
	return nil
}

func end(dir string) error {
	deadline := time.Now().Add(endTime)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if err := kill(dir); err != nil {
			return err
		}
		err := removeTree(dir)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w; are processes in it that do not end?", dir, err)
		}
		time.Sleep(wait)
	}
}

// kill signals every process of the tree, once.
func kill(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		if err != nil {
			return err
		}
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
				_ = unix.Kill(pid, unix.SIGKILL) //nolint:forbidigo // read from the cgroup this moment; one that is gone is what we want
			}
		}
		return nil
	})
}

// removeTree removes a cgroup and those below it; the files in them can not be
// and need not be removed.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	err = unix.Rmdir(dir)
	if err == unix.ENOENT {
		return nil
	}
	return err
}

// RemoveParent removes the parent of all containers' cgroups where none is left in
// it.
func RemoveParent(parent string) error {
	for _, pattern := range []string{filepath.Join(root, parent), filepath.Join(root, "*", parent)} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			if err := unix.Rmdir(dir); err != nil && err != unix.EBUSY && err != unix.ENOENT && err != unix.ENOTEMPTY {
				return &os.PathError{Op: "remove", Path: dir, Err: err}
			}
		}
	}
	return nil
}
