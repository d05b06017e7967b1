package workspace

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hutch-project/hutch/internal/container/attach"
	"github.com/hutch-project/hutch/internal/container/console"
)

// followStep is how often a log is looked at for more.
const followStep = 100 * time.Millisecond

// Logs writes what was written on a container's console to out, and, with follow,
// goes on until ctx ends. It comes from inside: out must escape it.
func (w *Workspace) Logs(ctx context.Context, name string, out io.Writer, follow bool) error {
	if _, err := w.Records.Load(name); err != nil {
		return err
	}
	path := filepath.Join(w.Layout.Container(name), console.LogName)
	for _, p := range []string{path + console.OldSuffix, path} {
		if err := copyFile(out, p); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if !follow {
		return nil
	}
	return followFile(ctx, out, path)
}

func copyFile(out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(out, f)
	return err
}

// followFile copies what is added to a file from now on; where another took its
// place, that one from its begin.
func followFile(ctx context.Context, out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	for {
		if _, err := io.Copy(out, f); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followStep):
		}
		mine, err := f.Stat()
		if err != nil {
			return err
		}
		now, err := os.Stat(path)
		if os.IsNotExist(err) {
			return nil // the container was removed
		}
		if err != nil {
			return err
		}
		if os.SameFile(mine, now) {
			continue
		}
		if _, err := io.Copy(out, f); err != nil {
			return err
		}
		f.Close()
		if f, err = os.Open(path); err != nil {
			return err
		}
	}
}

// Console joins the caller's terminal to a container's console, until the caller
// types ^] or the container ends.
func (w *Workspace) Console(ctx context.Context, name string) error {
	if err := w.Wake(ctx, name); err != nil {
		return err
	}
	if err := attach.Console(ctx, w.Layout.ContainerRuntime(name)); err != nil {
		return fmt.Errorf("console of %s: %w", name, err)
	}
	return nil
}
