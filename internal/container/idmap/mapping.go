package idmap

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hutch-project/hutch/internal/config"
)

// A Mapping makes Size ids of a container, from ContainerID on, the ids of the
// host from HostID on: a line of uid_map (user_namespaces(7)).
type Mapping struct {
	ContainerID uint32 `json:"container_id"`
	HostID      uint32 `json:"host_id"`
	Size        uint32 `json:"size"`
}

// A Map is all mappings of one kind of id, in the order of the container's ids.
type Map []Mapping

// Maps are the mappings of a container.
type Maps struct {
	UIDs Map `json:"uids"`
	GIDs Map `json:"gids"`
}

// Build returns the mappings of a layout for a person, over the range that is the
// container's own; the range has [Count] ids of the person's.
//
//	person   the person's id ↔ itself; every other id c ↔ start+c
//	root     0 ↔ the person's id; every other id c ↔ start+c
//	private  every id c ↔ start+c
//
// Inside are the ids 0 to 65535 and the person's own, which, where it is beyond,
// is start+65536 unless it is itself. The host's root is never in a container: a
// person who is root can only have the private layout.
func Build(layout config.IDs, uid, gid uint32, own Range) (Maps, error) {
	if own.Count < Count(uid, gid) || own.End() > maxID+1 {
		return Maps{}, fmt.Errorf("ids %s are too few for a container, which needs %d", own, Count(uid, gid))
	}
	if own.Contains(Range{0, 1}) {
		return Maps{}, fmt.Errorf("ids %s of a container have the host's root among them", own)
	}
	uids, err := build(layout, uid, own, "user")
	if err != nil {
		return Maps{}, err
	}
	gids, err := build(layout, gid, own, "group")
	if err != nil {
		return Maps{}, err
	}
	return Maps{uids, gids}, nil
}

func build(layout config.IDs, person uint32, own Range, what string) (Map, error) {
	if layout != config.IDsPrivate {
		switch {
		case person == 0:
			return nil, fmt.Errorf(`ids = %q would make the host's own root part of the container, for the person's %s is 0; run hutch by sudo from the person's account, or set ids = "private"`, layout, what)
		case person > maxID:
			return nil, fmt.Errorf("%d is no id of a %s", person, what)
		case own.Contains(Range{person, 1}):
			return nil, fmt.Errorf("ids %s of a container have the person's own %s %d among them", own, what, person)
		}
	}
	var m Map
	switch layout {
	case config.IDsPerson:
		m = Map{{person, person, 1}}
	case config.IDsRoot:
		m = Map{{0, person, 1}}
	case config.IDsPrivate:
	default:
		return nil, fmt.Errorf("ids = %q is no layout", layout)
	}
	if person >= Size && layout != config.IDsPerson {
		m = append(m, Mapping{person, own.Start + Size, 1})
	}
	// What is left of 0 to 65535 is shifted.
	var special []Range
	for _, s := range m {
		special = append(special, Range{s.ContainerID, s.Size})
	}
	for _, r := range subtract([]Range{{0, Size}}, special) {
		m = append(m, Mapping{r.Start, own.Start + r.Start, r.Count})
	}
	slices.SortFunc(m, func(a, b Mapping) int { return cmp.Compare(a.ContainerID, b.ContainerID) })
	return m, nil
}

// ToHost returns the host's id of a container's, if it has one.
func (m Map) ToHost(id uint32) (uint32, bool) {
	for _, s := range m {
		if id >= s.ContainerID && id-s.ContainerID < s.Size {
			return s.HostID + (id - s.ContainerID), true
		}
	}
	return 0, false
}

// ToContainer returns the container's id of one of the host's, if it has one.
func (m Map) ToContainer(id uint32) (uint32, bool) {
	for _, s := range m {
		if id >= s.HostID && id-s.HostID < s.Size {
			return s.ContainerID + (id - s.HostID), true
		}
	}
	return 0, false
}
