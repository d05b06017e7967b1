package config

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Init says which program is process 1 of a container.
type Init string

const (
	InitAuto   Init = "auto"   // system where the image has an init, else app
	InitSystem Init = "system" // the image's own /sbin/init
	InitApp    Init = "app"    // hutch's tiny init
)

// IDs is a layout of user and group ids.
type IDs string

const (
	IDsPerson  IDs = "person"  // the person's ids are themselves inside, all others are shifted
	IDsRoot    IDs = "root"    // root inside is the person outside, all others are shifted
	IDsPrivate IDs = "private" // nothing of the host: all are shifted
)

// Network says what a container may reach.
type Network string

const (
	NetworkInternet Network = "internet" // what lies behind the default route, nothing nearer
	NetworkNone     Network = "none"     // its own loopback
)

// Display says which screen a container gets.
type Display string

const (
	DisplayAuto      Display = "auto"      // untrusted where the X server has SECURITY; else none, and it is said
	DisplayUntrusted Display = "untrusted" // an untrusted client of the person's X server
	DisplayTrusted   Display = "trusted"   // a client with all rights of the person's own
	DisplayNone      Display = "none"      // no socket at all
)

// Config is what is wanted of one container: a value for every key.
type Config struct {
	Init        Init                   `json:"init"`
	IDs         IDs                    `json:"ids"`
	Privileged  bool                   `json:"privileged"`
	Network     Network                `json:"network"`
	Display     Display                `json:"display"`
	Memory      Memory                 `json:"memory"`
	CPUs        float64                `json:"cpus"`         // processors' worth of time; 0 is no limit
	PIDs        int64                  `json:"pids"`         // tasks, threads included
	StopTimeout time.Duration          `json:"stop_timeout"` // from the stop signal to the kill
	Shell       string                 `json:"shell"`        // path inside; empty is the person's own
	Environment map[string]string      `json:"environment"`
	Mounts      []Mount                `json:"mounts"` // sorted by target
	Images      map[string]ImageSource `json:"images"` // by distribution

	// Origins says where each value was set, by key: "memory",
	// "environment.EDITOR", MountKey("Videos"), "images.debian.mirror". A key that
	// is not in it has its built-in default.
	Origins map[string]Origin `json:"origins"`
}

// An ImageSource says where a distribution's packages come from; an empty field
// leaves it to hutch.
type ImageSource struct {
	Mirror  string `json:"mirror"`  // URL: http, https or file
	Keyring string `json:"keyring"` // absolute path
}

// An Origin is the place that set a value.
type Origin struct {
	Source string `json:"source"` // a path, or what an option is called
	Line   int    `json:"line"`   // in the file; 0 where there are no lines
}

func (o Origin) String() string {
	switch {
	case o.Source == "":
		return "built-in default"
	case o.Line == 0:
		return o.Source
	}
	return o.Source + ":" + strconv.Itoa(o.Line)
}

// A Layer is what one file, or one command line, says: a nil field is not
// mentioned there.
type Layer struct {
	Init        *Init
	IDs         *IDs
	Privileged  *bool
	Network     *Network
	Display     *Display
	Memory      *Memory
	CPUs        *float64
	PIDs        *int64
	StopTimeout *time.Duration
	Shell       *string
	Environment map[string]string
	Mounts      []Mount // in the order of the file, targets differ
	Images      map[string]ImageLayer

	// Origins has an entry for each value that is set.
	Origins map[string]Origin
}

// An ImageLayer is the part of a Layer that is about one distribution.
type ImageLayer struct{ Mirror, Keyring *string }

// Defaults returns the built-in values.
func Defaults() Config {
	return Config{
		Init:        InitAuto,
		IDs:         IDsPerson,
		Network:     NetworkInternet,
		Display:     DisplayAuto,
		Memory:      Memory{Half: true},
		PIDs:        4096,
		StopTimeout: 10 * time.Second,
		Environment: map[string]string{},
		Mounts:      []Mount{},
		Images:      map[string]ImageSource{"debian": {}},
		Origins:     map[string]Origin{},
	}
}

// Resolve lays layers over the built-in defaults, the last the topmost:
// hutch.toml, the profile, the container's config.toml, the command line.
// Variables are merged by name, mounts by target.
func Resolve(layers ...Layer) Config {
	c := Defaults()
	for _, l := range layers {
		over(&c.Init, l.Init)
		over(&c.IDs, l.IDs)
		over(&c.Privileged, l.Privileged)
		over(&c.Network, l.Network)
		over(&c.Display, l.Display)
		over(&c.Memory, l.Memory)
		over(&c.CPUs, l.CPUs)
		over(&c.PIDs, l.PIDs)
		over(&c.StopTimeout, l.StopTimeout)
		over(&c.Shell, l.Shell)
		maps.Copy(c.Environment, l.Environment)
		for _, m := range l.Mounts {
			c.Mounts = putMount(c.Mounts, m)
		}
		for name, image := range l.Images {
			source := c.Images[name]
			over(&source.Mirror, image.Mirror)
			over(&source.Keyring, image.Keyring)
			c.Images[name] = source
		}
		maps.Copy(c.Origins, l.Origins)
	}
	slices.SortFunc(c.Mounts, byTarget)
	return c
}

func over[T any](value *T, wanted *T) {
	if wanted != nil {
		*value = *wanted
	}
}

// layer returns a Layer that says all that c says, so that one set of keys
// serves both.
func (c Config) layer() Layer {
	l := Layer{
		Init: &c.Init, IDs: &c.IDs, Privileged: &c.Privileged, Network: &c.Network, Display: &c.Display,
		Memory: &c.Memory, CPUs: &c.CPUs, PIDs: &c.PIDs, StopTimeout: &c.StopTimeout, Shell: &c.Shell,
		Environment: c.Environment, Mounts: c.Mounts, Images: map[string]ImageLayer{}, Origins: c.Origins,
	}
	for name, source := range c.Images {
		l.Images[name] = ImageLayer{Mirror: &source.Mirror, Keyring: &source.Keyring}
	}
	return l
}

// An Entry is one key with its value, as `hutch config show` lists them.
type Entry struct {
	Key    string `json:"key"`
	Value  string `json:"value"` // as `hutch config set` takes it; a mount as [Mount.String] writes it
	Origin Origin `json:"origin"`
}

// Entries lists every value of c: single keys in the order of the reference,
// then variables and mounts by name.
func (c Config) Entries() []Entry { return c.layer().Entries() }

// Get returns the value of one key as text, and whether there is such a value.
// A key that can not exist is an error.
func (c Config) Get(key string) (string, bool, error) { return c.layer().Get(key) }

// Entries lists every value that l sets, as [Config.Entries] does.
func (l Layer) Entries() []Entry {
	var entries []Entry
	add := func(key, value string) {
		entries = append(entries, Entry{key, value, l.Origins[key]})
	}
	for _, k := range keys {
		if value, set := k.get(l); set {
			add(k.name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.Environment)) {
		add(environmentPrefix+name, l.Environment[name])
	}
	for _, m := range slices.SortedFunc(slices.Values(l.Mounts), byTarget) {
		add(MountKey(m.Target), m.String())
	}
	return entries
}

// Get returns the value that l sets for one key as text.
func (l Layer) Get(key string) (string, bool, error) {
	if name, is := cutEnvironment(key); is {
		if err := CheckVariable(name); err != nil {
			return "", false, err
		}
		value, set := l.Environment[name]
		return value, set, nil
	}
	k, err := findKey(key)
	if err != nil {
		return "", false, err
	}
	value, set := k.get(l)
	return value, set, nil
}

// Set puts one value into l, given as text; source is what the origin is called
// ("--memory"). Mounts are put in with [Layer.SetMount].
func (l *Layer) Set(key, value, source string) error {
	if err := l.set(key, value); err != nil {
		return err
	}
	l.from(key, Origin{Source: source})
	return nil
}

// SetMount puts a mount into l in place of an earlier one with its target.
func (l *Layer) SetMount(m Mount, source string) error {
	m, err := m.Checked()
	if err != nil {
		return err
	}
	l.Mounts = putMount(l.Mounts, m)
	l.from(MountKey(m.Target), Origin{Source: source})
	return nil
}

func (l *Layer) set(key, value string) error {
	if name, is := cutEnvironment(key); is {
		if err := CheckVariable(name); err != nil {
			return err
		}
		if err := checkVariableValue(value); err != nil {
			return err
		}
		if l.Environment == nil {
			l.Environment = map[string]string{}
		}
		l.Environment[name] = value
		return nil
	}
	k, err := findKey(key)
	if err != nil {
		return err
	}
	return k.set(l, value)
}

func (l *Layer) from(key string, o Origin) {
	if l.Origins == nil {
		l.Origins = map[string]Origin{}
	}
	l.Origins[key] = o
}
