package api

import (
	"net/netip"
	"time"
)

// Version of the protocol; hutchd refuses another one by name.
const Version = 1

// MaxPacket bounds a request and an answer, in bytes.
const MaxPacket = 64 << 10

// MaxRetain is how many ids of containers one packet has room for.
const MaxRetain = 1500

// A Policy says what a container may reach.
type Policy string

const (
	Internet Policy = "internet" // what lies behind the default route, nothing else
	None     Policy = "none"     // loopback alone; such a container is never attached
)

// The operations.
const (
	OpAttach = "attach" // with the network namespace as descriptor 0; answers Lease
	OpDetach = "detach" // the port goes, the addresses stay the container's
	OpForget = "forget" // the addresses are free again
	OpRetain = "retain" // those of all containers but the named ones are free again; root's to ask
	OpList   = "list"   // answers Attachments
	OpStatus = "status" // answers Status
)

// A Request is one packet from a client.
type Request struct {
	Version int     `json:"version"`
	Op      string  `json:"op"`
	Attach  *Attach `json:"attach,omitempty"`
	ID      string  `json:"id,omitempty"` // for detach and forget
	// IDs are all containers that there are, for retain. An empty list is not the
	// same as none.
	IDs *[]string `json:"ids,omitempty"`
}

// Attach asks for a port for the network namespace that comes along. The
// namespace must be owned by a user namespace of the caller's, not the host's.
type Attach struct {
	ID     string `json:"id"`   // the record's: 32 hexadecimal digits
	Name   string `json:"name"` // the container's name, one DNS label (RFC 1123)
	Policy Policy `json:"policy"`
}

// An Answer is one packet from hutchd. Error is empty on success.
type Answer struct {
	Version     int          `json:"version"`
	Error       string       `json:"error,omitempty"`
	Remedy      string       `json:"remedy,omitempty"`
	Lease       *Lease       `json:"lease,omitempty"`
	Attachments []Attachment `json:"attachments,omitempty"`
	Status      *Status      `json:"status,omitempty"`
}

// A Lease is what a container was given. The prefixes carry the container's own
// address and the length of its on-link network.
type Lease struct {
	MAC      string       `json:"mac"`
	Address4 netip.Prefix `json:"address4"`
	Address6 netip.Prefix `json:"address6"`
	Gateway4 netip.Addr   `json:"gateway4"`
	Gateway6 netip.Addr   `json:"gateway6"`
	DNS      []netip.Addr `json:"dns"`
	Search   string       `json:"search"` // the domain of containers' names
	MTU      int          `json:"mtu"`    // bytes
}

// An Attachment is one port in use.
type Attachment struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	UID    uint32    `json:"uid"` // who asked for it
	Policy Policy    `json:"policy"`
	Lease  Lease     `json:"lease"`
	Since  time.Time `json:"since"`
}

// Status is what hutchd says of itself.
type Status struct {
	PID     int          `json:"pid"`
	Version string       `json:"version"`
	Since   time.Time    `json:"since"`
	Subnet4 netip.Prefix `json:"subnet4"`
	Subnet6 netip.Prefix `json:"subnet6"`
	Uplinks []string     `json:"uplinks"` // interfaces of the default routes
	Warning []string     `json:"warning,omitempty"`
}
