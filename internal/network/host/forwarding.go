package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/network"
)

// A Setting is one file below /proc/sys/net and the value that it should have.
type Setting struct{ File, Value string }

// Settings says what must be set so that packets pass between the router and the
// uplinks, and as little as possible else. Forwarding is a matter of the interface
// that a packet comes in by. IPv6 has a switch for a single interface since Linux
// 6.17 (force_forwarding); before it, forwarding is for all, and an interface that
// configures itself from router advertisements has to be told to go on doing so
// (accept_ra=2, ip-sysctl.rst). has says whether a setting exists.
func Settings(o network.Outside, has func(file string) bool) []Setting {
	var all []Setting
	for _, link := range append([]string{network.LinkName}, o.Uplinks4...) {
		all = append(all, Setting{"ipv4/conf/" + link + "/forwarding", "1"})
	}
	if has("ipv6/conf/" + network.LinkName + "/force_forwarding") {
		for _, link := range append([]string{network.LinkName}, o.Uplinks6...) {
			all = append(all, Setting{"ipv6/conf/" + link + "/force_forwarding", "1"})
		}
		return all
	}
	if len(o.Uplinks6) == 0 {
		return all
	}
	for _, link := range o.Uplinks6 {
		all = append(all, Setting{"ipv6/conf/" + link + "/accept_ra", "2"})
	}
	return append(all, Setting{allForwarding6, "1"})
}

const allForwarding6 = "ipv6/conf/all/forwarding"

// A Forwarding applies settings and remembers in a file what was there before, so
// that even a hutchd that was killed puts it back.
type Forwarding struct{ Record string }

// Guard says what Apply would make forward for hutch alone.
func (f Forwarding) Guard(wanted []Setting) (Guard, error) {
	before, err := f.load()
	if err != nil {
		return Guard{}, err
	}
	var forced []Setting
	for _, s := range wanted {
		old, known := before[s.File]
		if !known {
			if old, err = get(s.File); err != nil {
				continue // gone with its interface, or no IPv6
			}
		}
		if old != s.Value {
			forced = append(forced, s)
		}
	}
	return guardFor(forced), nil
}

// Apply sets what is wanted and puts back what no longer is.
func (f Forwarding) Apply(wanted []Setting) error {
	before, err := f.load()
	if err != nil {
		return err
	}
	changed := false
	var failures []error
	for file, old := range before {
		if !slices.ContainsFunc(wanted, func(s Setting) bool { return s.File == file }) {
			failures = append(failures, put(Setting{file, old}))
			delete(before, file)
			changed = true
		}
	}
	var todo []Setting
	for _, s := range wanted {
		now, err := get(s.File)
		if errors.Is(err, os.ErrNotExist) {
			continue // the interface has just gone, or has no IPv6
		}
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if now == s.Value {
			continue
		}
		todo = append(todo, s)
		if _, known := before[s.File]; !known {
			before[s.File] = now
			changed = true
		}
	}
	if changed { // before the settings are: a record too much does no harm
		if err := f.save(before); err != nil {
			return err
		}
	}
	for _, s := range todo {
		failures = append(failures, put(s))
	}
	return errors.Join(failures...)
}

// Restore puts everything back and forgets the record.
func (f Forwarding) Restore() error {
	err := f.Apply(nil)
	if err == nil {
		err = os.Remove(f.Record)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (f Forwarding) load() (map[string]string, error) {
	before := map[string]string{}
	data, err := os.ReadFile(f.Record)
	if errors.Is(err, os.ErrNotExist) {
		return before, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &before); err != nil {
		return nil, fmt.Errorf("%s: %w; the host's forwarding settings before hutchd are lost, remove the file", f.Record, err)
	}
	return before, nil
}

func (f Forwarding) save(before map[string]string) error {
	data, err := json.MarshalIndent(before, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(f.Record, append(data, '\n'), 0o600)
}

// Guard says which interfaces forward only because of hutch: for them the host
// has to drop what is not from or to containers, or it would be a router for its
// whole LAN.
type Guard struct {
	Links4, Links6 []string
	All6           bool // forwarding of IPv6 had to be turned on for all
}

// guardFor reads the guard off the settings that are on for hutch alone.
func guardFor(forced []Setting) Guard {
	var g Guard
	for _, s := range forced {
		part := strings.Split(s.File, "/")
		family, link, what := part[0], strings.Join(part[2:len(part)-1], "/"), part[len(part)-1]
		switch {
		case s.File == allForwarding6:
			g.All6 = true
		case link == network.LinkName || what == "accept_ra":
		case family == "ipv4":
			g.Links4 = append(g.Links4, link)
		default:
			g.Links6 = append(g.Links6, link)
		}
	}
	return g
}

// Has says whether a setting exists in the namespace of the calling thread.
func Has(file string) bool {
	_, err := os.Stat(sysctl(file))
	return err == nil
}

func sysctl(file string) string { return filepath.Join("/proc/sys/net", file) }

func get(file string) (string, error) {
	data, err := os.ReadFile(sysctl(file))
	return strings.TrimSpace(string(data)), err
}

func put(s Setting) error {
	err := os.WriteFile(sysctl(s.File), []byte(s.Value), 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // gone with its interface
	}
	return err
}
