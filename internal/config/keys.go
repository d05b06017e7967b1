package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	environmentKey    = "environment"
	environmentPrefix = environmentKey + "."
	mountsKey         = "mounts"
	imagesKey         = "images"
)

// A When says from which moment on a changed value counts for a container.
type When string

const (
	Live       When = "live"     // at once
	AtRestart  When = "restart"  // from its next start
	AtCreation When = "creation" // never: its files were laid out by it; only for new containers
)

// A key is one single value that can be set.
type key struct {
	name    string
	kind    unstable.Kind // of the TOML value
	example string        // a line that would be right
	machine bool          // may only stand in the machine's own file
	when    When
	set     func(l *Layer, text string) error
	get     func(l Layer) (text string, set bool)
}

// keys, in the order of the reference. Variables and mounts are beside them: their
// names are the person's.
var keys = []key{
	value("init", unstable.String, `init = "auto"`, AtRestart, func(l *Layer) **Init { return &l.Init },
		func(s string) (Init, error) { return parseChoice(s, InitAuto, InitSystem, InitApp) }, text[Init]),
	value("ids", unstable.String, `ids = "person"`, AtCreation, func(l *Layer) **IDs { return &l.IDs },
		func(s string) (IDs, error) { return parseChoice(s, IDsPerson, IDsRoot, IDsPrivate) }, text[IDs]),
	value("privileged", unstable.Bool, `privileged = false`, AtCreation, func(l *Layer) **bool { return &l.Privileged },
		parseBool, strconv.FormatBool),
	value("network", unstable.String, `network = "internet"`, AtRestart, func(l *Layer) **Network { return &l.Network },
		func(s string) (Network, error) { return parseChoice(s, NetworkInternet, NetworkNone) }, text[Network]),
	value("display", unstable.String, `display = "auto"`, AtRestart, func(l *Layer) **Display { return &l.Display },
		func(s string) (Display, error) {
			return parseChoice(s, DisplayAuto, DisplayUntrusted, DisplayTrusted, DisplayNone)
		}, text[Display]),
	value("memory", unstable.String, `memory = "2GiB"`, Live, func(l *Layer) **Memory { return &l.Memory },
		ParseMemory, Memory.String),
	value("cpus", unstable.Float, `cpus = 1.5`, Live, func(l *Layer) **float64 { return &l.CPUs },
		ParseCPUs, formatCPUs),
	value("pids", unstable.Integer, `pids = 4096`, Live, func(l *Layer) **int64 { return &l.PIDs },
		ParsePIDs, func(n int64) string { return strconv.FormatInt(n, 10) }),
	value("stop-timeout", unstable.String, `stop-timeout = "10s"`, Live, func(l *Layer) **time.Duration { return &l.StopTimeout },
		ParseStopTimeout, time.Duration.String),
	value("shell", unstable.String, `shell = "/bin/bash"`, AtRestart, func(l *Layer) **string { return &l.Shell },
		parseInsidePath, text[string]),
	image("debian", "mirror", `mirror = "https://deb.debian.org/debian"`, parseMirror,
		func(i *ImageLayer) **string { return &i.Mirror }),
	image("debian", "keyring", `keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"`, parseKeyring,
		func(i *ImageLayer) **string { return &i.Keyring }),
}

// value makes the key of one field of a Layer.
func value[T any](name string, kind unstable.Kind, example string, when When,
	field func(*Layer) **T, parse func(string) (T, error), show func(T) string) key {
	return key{
		name: name, kind: kind, example: example, when: when,
		set: func(l *Layer, text string) error {
			v, err := parse(text)
			if err == nil {
				*field(l) = &v
			}
			return err
		},
		get: func(l Layer) (string, bool) {
			v := *field(&l)
			if v == nil {
				return "", false
			}
			return show(*v), true
		},
	}
}

// image makes the key of one field of a distribution's part of a Layer.
func image(distribution, name, example string, parse func(string) (string, error), field func(*ImageLayer) **string) key {
	return key{
		name: imagesKey + "." + distribution + "." + name, kind: unstable.String, example: example, machine: true, when: AtCreation,
		set: func(l *Layer, text string) error {
			v, err := parse(text)
			if err != nil {
				return err
			}
			if l.Images == nil {
				l.Images = map[string]ImageLayer{}
			}
			i := l.Images[distribution]
			*field(&i) = &v
			l.Images[distribution] = i
			return nil
		},
		get: func(l Layer) (string, bool) {
			i := l.Images[distribution]
			if v := *field(&i); v != nil {
				return *v, true
			}
			return "", false
		},
	}
}

func text[T ~string](v T) string { return string(v) }

// formatCPUs writes a float that TOML takes for one.
func formatCPUs(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// Keys names every single key, in the order of the reference. Beside them there
// are environment.NAME and the mounts.
func Keys() []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// WhenApplied says from when on a change of a key (of [Keys], environment.NAME or
// a [MountKey]) counts.
func WhenApplied(name string) When {
	for _, k := range keys {
		if k.name == name {
			return k.when
		}
	}
	if _, is := cutEnvironment(name); is {
		return AtRestart // what gives it to each program is told when the container starts
	}
	return Live
}

// findKey returns a single key, or an error that names the nearest one.
func findKey(name string) (key, error) {
	for _, k := range keys {
		if k.name == name {
			return k, nil
		}
	}
	switch {
	case name == mountsKey || strings.HasPrefix(name, mountsKey+"."):
		return key{}, fmt.Errorf("%s is not a single value; mounts are added and removed by their target, or written as [[mounts]] tables", quote(name))
	case name == environmentKey:
		return key{}, fmt.Errorf("environment is not a single value; name a variable such as environment.EDITOR")
	}
	known := append(Keys(), environmentPrefix+"NAME")
	if near, found := nearest(name, known); found {
		return key{}, fmt.Errorf("unknown key %s; the nearest is %s", quote(name), near)
	}
	return key{}, fmt.Errorf("unknown key %s; the keys are %s", quote(name), strings.Join(known, ", "))
}

// cutEnvironment returns the variable's name of the key of one.
func cutEnvironment(key string) (name string, is bool) {
	return strings.CutPrefix(key, environmentPrefix)
}

// quoteKey writes one part of a dotted key as TOML wants it.
func quoteKey(s string) string {
	bare := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
	if bare {
		return s
	}
	return quoteTOML(s)
}

// quoteTOML writes a basic string (toml.io, "String").
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r >= 0x7f && r < 0xa0:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// NeedsRestart sorts the keys whose values differ: those that can be applied to
// the container while it runs, those that wait for its next start, and those that
// only a new container can have.
func NeedsRestart(old, new Config) (live, restart, creation []string) {
	before, after := values(old), values(new)
	var changed []string
	for k, v := range after {
		if b, was := before[k]; !was || b != v {
			changed = append(changed, k)
		}
	}
	for k := range before {
		if _, is := after[k]; !is {
			changed = append(changed, k)
		}
	}
	slices.Sort(changed)
	for _, k := range changed {
		switch WhenApplied(k) {
		case Live:
			live = append(live, k)
		case AtRestart:
			restart = append(restart, k)
		case AtCreation:
			creation = append(creation, k)
		}
	}
	return live, restart, creation
}

func values(c Config) map[string]string {
	m := map[string]string{}
	for _, e := range c.Entries() {
		m[e.Key] = e.Value
	}
	return m
}
