package container

import "time"

// Schema is the version of the record on disk. An older hutch does not touch a
// newer record.
const Schema = 1

// A Record is what lasts of a container beside its configuration and its files.
// It is written once, as the commit point of create; whoever reads it must
// expect its values to be sane only after store.Load checked them.
type Record struct {
	Schema    int       `json:"schema"`
	Name      string    `json:"name"`
	ID        string    `json:"id"` // 32 hexadecimal digits, another for each creation
	Created   time.Time `json:"created"`
	Image     Image     `json:"image"`
	Person    Person    `json:"person"`
	IDs       IDRange   `json:"ids"`
	MachineID string    `json:"machine_id"` // machine-id(5)
	Profile   string    `json:"profile,omitempty"`
	// Build marks a container that makes an image: it is nobody's, and swept when
	// its maker is gone.
	Build bool `json:"build,omitempty"`
}

// An Image is what a container was made from.
type Image struct {
	Reference string   `json:"reference"` // as asked for: debian/bookworm
	Digest    string   `json:"digest"`    // sha256:…, of the topmost layer
	Layers    []string `json:"layers"`    // digests, the lowest first
	Arch      string   `json:"arch"`
}

// A Person is the user of the host on whose behalf the container runs, and who
// exists inside under the same name.
type Person struct {
	Name  string `json:"name"`
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Home  string `json:"home"`
	Shell string `json:"shell"`
}

// An IDRange is the part of the host's uids and gids that is the container's
// alone.
type IDRange struct {
	Start uint32 `json:"start"`
	Count uint32 `json:"count"`
}

// A State of a container.
type State string

const (
	Stopped  State = "stopped"
	Starting State = "starting"
	Running  State = "running"
	Stopping State = "stopping"
)
