package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/sys"
)

// Names of files in a running container's runtime folder.
const (
	AgentSocket   = "agent.sock"   // the resident agent inside listens on it
	ControlSocket = "control.sock" // the supervisor listens on it
	OrderFile     = "order.json"   // what the supervisor was told to run
)

// A Run is what is true of a container while it runs.
type Run struct {
	Schema     int             `json:"schema"`
	ID         string          `json:"id"` // the record's
	State      container.State `json:"state"`
	Since      time.Time       `json:"since"`
	Init       sys.Process     `json:"init,omitzero"`
	Supervisor sys.Process     `json:"supervisor"`
	InitKind   string          `json:"init_kind"` // system or app
	Network    json.RawMessage `json:"network,omitempty"`
	Display    string          `json:"display"` // in words
}

// Run returns the state of a container's run, or nil where it does not run. A
// record of before the last boot is no run.
func (s *Store) Run(name string) (*Run, error) {
	var r Run
	boot, err := sys.BootID()
	if err != nil {
		return nil, err
	}
	err = readJSON(s.runFile(name, boot), &r)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if r.Schema > container.Schema {
		return nil, fmt.Errorf("%s runs under a newer hutch", name)
	}
	return &r, nil
}

// Alive says whether the container's first process lives.
func (r *Run) Alive() bool { return r != nil && r.Init.Alive() }

// SaveRun writes the state of a run, in the runtime folder, which exists.
func (s *Store) SaveRun(name string, r Run) error {
	r.Schema = container.Schema
	boot, err := sys.BootID()
	if err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Replace(s.runFile(name, boot), data, 0o600)
}

// runFile carries the name of this run of the machine: in another it is not there,
// and what a power cut left of it is not looked at.
func (s *Store) runFile(name, boot string) string {
	return filepath.Join(s.layout.ContainerRuntime(name), "run-"+boot+".json")
}

// Runs returns the names of all runtime folders, of containers that run or that
// a crash left.
func (s *Store) Runs() ([]string, error) {
	return names(s.layout.ContainersRuntime(), os.DirEntry.IsDir)
}
