package order

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/control"
)

// An Order is all that a supervisor is told: decided by the command line, which
// runs as the same user. It is kept for the one who adopts.
type Order struct {
	Record     container.Record       `json:"record"`
	Layers     []string               `json:"layers"` // folders, the lowest first
	Init       string                 `json:"init"`   // system or app
	User       string                 `json:"user"`   // who runs commands that name no user
	UIDs       []specs.LinuxIDMapping `json:"uids"`
	GIDs       []specs.LinuxIDMapping `json:"gids"`
	Privileged bool                   `json:"privileged"`
	Limits     control.Limits         `json:"limits"`
	Env        []string               `json:"env"` // KEY=value, of the configuration
	Mounts     []Lent                 `json:"mounts"`
	Network    string                 `json:"network"` // internet or none
	Display    Display                `json:"display"`
	StopAfter  time.Duration          `json:"stop_after"` // from the stop signal to the kill
}

// Lent is a folder, file or socket of the host that the container is lent.
type Lent struct {
	Source   string `json:"source"` // absolute, without links
	Target   string `json:"target"` // absolute, inside
	ReadOnly bool   `json:"read_only"`
	Optional bool   `json:"optional"`
}

// Display says which screen the container gets.
type Display struct {
	Level    string           `json:"level"`              // untrusted, trusted or none
	Upstream *control.Display `json:"upstream,omitempty"` // nil where the person has none now
}

// A Report is the answer to an order: the container runs, or why not.
type Report struct {
	Error   string          `json:"error,omitempty"`
	Network json.RawMessage `json:"network,omitempty"`
}

// HostIDs gives the host ids of a user inside. Those that are not mapped are the
// overflow ids (user_namespaces(7)).
func (o Order) HostIDs(uid, gid uint32) (hostUID, hostGID uint32) {
	if o.Privileged {
		return uid, gid
	}
	return hostID(o.UIDs, uid), hostID(o.GIDs, gid)
}

func hostID(mappings []specs.LinuxIDMapping, id uint32) uint32 {
	for _, m := range mappings {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + (id - m.ContainerID)
		}
	}
	return 65534
}
