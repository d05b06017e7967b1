package config

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Mode says whether a container may write to what it is lent.
type Mode string

const (
	ReadOnly  Mode = "ro"
	ReadWrite Mode = "rw"
)

// A Mount is a folder, file or socket of the host that is lent to a container.
type Mount struct {
	Source   string `json:"source"`   // on the host: absolute, or "~" or "~/…" in the person's home
	Target   string `json:"target"`   // inside: absolute, or relative to the home of the user inside
	Mode     Mode   `json:"mode"`     // ro unless said otherwise
	Optional bool   `json:"optional"` // a source that is not there is no error
}

// taken are the folders of a container that hutch itself fills.
var taken = []string{"/proc", "/sys", "/dev", "/run/hutch", "/.hutch"}

// ParseMount reads the option --mount: SOURCE:TARGET, SOURCE:TARGET:ro or
// SOURCE:TARGET:rw. A path with a colon in it can only stand in a file.
func ParseMount(s string) (Mount, error) {
	parts := strings.SplitN(s, ":", 4)
	if len(parts) < 2 || len(parts) > 3 {
		return Mount{}, fmt.Errorf("mount %s is not SOURCE:TARGET[:ro|rw]; a path that has a colon in it goes into a [[mounts]] table of the configuration", quote(s))
	}
	m := Mount{Source: parts[0], Target: parts[1]}
	if len(parts) == 3 {
		mode, err := parseChoice(parts[2], ReadOnly, ReadWrite)
		if err != nil {
			return Mount{}, fmt.Errorf("mount %s: mode %w", quote(s), err)
		}
		m.Mode = mode
	}
	m, err := m.Checked()
	if err != nil {
		return Mount{}, fmt.Errorf("mount %s: %w", quote(s), err)
	}
	return m, nil
}

// String writes the mount as --mount takes it, with ",optional" behind where it is.
func (m Mount) String() string {
	s := m.Source + ":" + m.Target + ":" + string(m.Mode)
	if m.Optional {
		s += ",optional"
	}
	return s
}

// Checked returns the mount with its mode filled in and its paths without
// needless slashes, or says what is wrong with it.
func (m Mount) Checked() (Mount, error) {
	var err error
	if m.Source, err = parseSource(m.Source); err != nil {
		return Mount{}, err
	}
	if m.Target, err = parseTarget(m.Target); err != nil {
		return Mount{}, err
	}
	if m.Mode == "" {
		m.Mode = ReadOnly
	}
	m.Mode, err = parseChoice(string(m.Mode), ReadOnly, ReadWrite)
	return m, err
}

func parseSource(s string) (string, error) {
	const advice = `write an absolute path such as "/srv/music", or one in your home such as "~/Music"`
	if s == "" {
		return "", fmt.Errorf("source is missing; %s", advice)
	}
	if err := checkText(s); err != nil {
		return "", fmt.Errorf("source %w", err)
	}
	inHome := s == "~" || strings.HasPrefix(s, "~/")
	if !inHome && !path.IsAbs(s) {
		return "", fmt.Errorf("source %s is neither absolute nor in your home; %s", quote(s), advice)
	}
	if hasDotDot(s) {
		return "", fmt.Errorf("source %s has .. in it; write the path without", quote(s))
	}
	return path.Clean(s), nil
}

func parseTarget(s string) (string, error) {
	const advice = `write a path in the home of the user inside such as "Music", or an absolute one`
	if s == "" {
		return "", fmt.Errorf("target is missing; %s", advice)
	}
	if err := checkText(s); err != nil {
		return "", fmt.Errorf("target %w", err)
	}
	if hasDotDot(s) {
		return "", fmt.Errorf("target %s has .. in it; write the path without", quote(s))
	}
	clean := path.Clean(s)
	if clean == "~" || strings.HasPrefix(clean, "~/") {
		return "", fmt.Errorf("target %s: a relative target is in the home already; write it without ~/", quote(s))
	}
	if clean == "/" || clean == "." {
		return "", fmt.Errorf("target %s would cover everything that is there; %s below it", quote(s), advice)
	}
	for _, t := range taken {
		if clean == t || strings.HasPrefix(clean, t+"/") {
			return "", fmt.Errorf("target %s is in %s, which hutch fills itself; choose another place", quote(s), t)
		}
		if strings.HasPrefix(t, clean+"/") {
			return "", fmt.Errorf("target %s would cover %s, which hutch fills itself; choose another place", quote(s), t)
		}
	}
	return clean, nil
}

func hasDotDot(p string) bool { return slices.Contains(strings.Split(p, "/"), "..") }

// MountKey is the key of a mount among the origins and entries of a
// configuration.
func MountKey(target string) string { return mountsKey + "." + quoteKey(target) }

// putMount returns mounts with m in place of the one with its target, or behind.
func putMount(mounts []Mount, m Mount) []Mount {
	for i := range mounts {
		if mounts[i].Target == m.Target {
			mounts = slices.Clone(mounts)
			mounts[i] = m
			return mounts
		}
	}
	return append(slices.Clip(mounts), m)
}

func byTarget(a, b Mount) int { return cmp.Compare(a.Target, b.Target) }
