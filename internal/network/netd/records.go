package netd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/paths"
)

// The files of hutchd. The book of addresses lasts; the rest is of this run of the
// machine.
func bookFile(l paths.Layout) string       { return filepath.Join(l.Netd, "addresses.json") }
func portsFile(l paths.Layout) string      { return filepath.Join(l.Runtime, "hutchd-ports.json") }
func forwardingFile(l paths.Layout) string { return filepath.Join(l.Runtime, "hutchd-forwarding.json") }
func processFile(l paths.Layout) string    { return filepath.Join(l.Runtime, "hutchd.json") }
func lockFile(l paths.Layout) string       { return filepath.Join(l.Runtime, "hutchd.lock") }

// portsSchema is the version of the record of ports.
const portsSchema = 1

type portRecords struct {
	Schema int          `json:"schema"`
	Ports  []portRecord `json:"ports"`
}

// A portRecord is what a later hutchd needs to know of a port to adopt it.
type portRecord struct {
	ID        string      `json:"id"`
	Name      string      `json:"name"`
	UID       uint32      `json:"uid"`
	Policy    api.Policy  `json:"policy"`
	Number    uint32      `json:"number"` // host number in both subnets
	Namespace namespaceID `json:"namespace"`
	MTU       int         `json:"mtu"`
	Since     time.Time   `json:"since"`
}

func loadBook(file string) (network.AddressBook, error) {
	b := network.AddressBook{Schema: network.AddressBookSchema}
	if err := load(file, &b); err != nil {
		return b, err
	}
	if b.Schema != network.AddressBookSchema {
		return b, fmt.Errorf("%s: schema %d, this hutchd knows %d; use the hutchd that wrote it", file, b.Schema, network.AddressBookSchema)
	}
	for id := range b.Numbers {
		if err := network.CheckID(id); err != nil {
			return b, fmt.Errorf("%s: %w", file, err)
		}
	}
	return b, nil
}

func loadPorts(file string) ([]portRecord, error) {
	r := portRecords{Schema: portsSchema}
	if err := load(file, &r); err != nil {
		return nil, err
	}
	if r.Schema != portsSchema {
		return nil, fmt.Errorf("%s: schema %d, this hutchd knows %d; stop all containers and run 'hutchd --cleanup'", file, r.Schema, portsSchema)
	}
	for _, p := range r.Ports {
		if err := errors.Join(network.CheckID(p.ID), network.CheckName(p.Name)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return r.Ports, nil
}

// load reads a record; one that is not there leaves v as it is.
func load(file string, v any) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w; remove the file", file, err)
	}
	return nil
}

func save(file string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(file, append(data, '\n'), 0o600)
}
