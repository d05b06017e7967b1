package workspace

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hutch-project/hutch/internal/container/store"
	"github.com/hutch-project/hutch/internal/image"
	"github.com/hutch-project/hutch/internal/paths"
)

// A Workspace is one scope: its containers, images and programs.
type Workspace struct {
	Layout  paths.Layout
	Records *store.Store
	Log     *slog.Logger
	// Progress hears how far long work is; never nil.
	Progress Progress

	programs string // folder of hutch's other programs
	getenv   func(string) string
}

// Progress shows long work.
type Progress interface {
	// Phase begins a part of the work.
	Phase(name string)
	// Items says how much of the phase is done, out of size.
	Items(done, size int64)
}

// Errors that a caller may want to tell apart.
var (
	ErrExists     = errors.New("exists already")
	ErrNotRunning = errors.New("is not running")
	ErrRunning    = errors.New("is running")
)

// Open returns the system scope's workspace.
func Open(log *slog.Logger, progress Progress) (*Workspace, error) {
	layout, err := paths.System()
	if err != nil {
		return nil, err
	}
	if err := layout.MakeRuntime(); err != nil {
		return nil, err
	}
	programs, err := programsDir()
	if err != nil {
		return nil, err
	}
	return &Workspace{
		Layout: layout, Records: store.New(layout), Log: log, Progress: progress,
		programs: programs, getenv: os.Getenv,
	}, nil
}

// RequireRoot says what to do where the caller is not root.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("hutch works with root's containers: run it with sudo")
	}
	return nil
}

// programsDir finds the folder of hutch's other programs: beside this one, or in
// the place that a package puts them (hier(7), /usr/libexec).
func programsDir() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil { //nolint:forbidigo // our own program, not a container's path
		return "", err
	}
	candidates := []string{filepath.Dir(self), filepath.Join(filepath.Dir(self), "../libexec/hutch")}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, supervisorProgram)); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%s is in none of %v: hutch is not installed whole", supervisorProgram, candidates)
}

const (
	supervisorProgram = "hutch-supervisor"
	netdProgram       = "hutchd"
)

// images opens the image store.
func (w *Workspace) images() (*image.Store, error) { return image.Open(w.Layout.Images()) }
