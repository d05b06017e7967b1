package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/sys"
	"github.com/hutch-project/hutch/internal/undo"
)

// clean takes every trace of the demo away, and looks whether it is gone.
func (h *hutch) clean(ctx context.Context, back *undo.Stack) error {
	if err := h.open(back); err != nil {
		return err
	}
	if _, err := h.run(ctx, "hutch", "cleanup", "--all", "--yes"); err != nil {
		return err
	}
	if err := sys.RemoveTree(root); err != nil {
		return err
	}
	if err := os.Remove(picture); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	left, err := traces()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("this stayed:\n  %s", strings.Join(left, "\n  "))
	}
	fmt.Println("Nothing of the demo is left: no process, mount, cgroup or file. (The Debian packages it needed stay installed.)")
	return nil
}

// traces are what is left of the demo on this machine.
func traces() (left []string, err error) {
	layout, err := paths.SystemBelow(root)
	if err != nil {
		return nil, err
	}
	for _, pattern := range []string{root, picture, "/sys/fs/cgroup/" + layout.Cgroup, "/sys/fs/cgroup/*/" + layout.Cgroup} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		left = append(left, found...)
	}
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, err
	}
	for _, file := range environments {
		dir := filepath.Dir(file)
		environment, _ := os.ReadFile(file) // a process that ended meanwhile is none that is left
		if bytes.Contains(environment, []byte("HUTCH_ROOT="+root+"\x00")) {
			left = append(left, "process "+filepath.Base(dir))
		}
		mounts, _ := os.ReadFile(filepath.Join(dir, "mountinfo"))
		if bytes.Contains(mounts, []byte(" "+root+"/")) {
			left = append(left, "a mount that process "+filepath.Base(dir)+" sees")
		}
	}
	return left, nil
}
