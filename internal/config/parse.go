package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// A Kind of file; not every key may stand in each.
type Kind string

const (
	Machine   Kind = "machine"   // hutch.toml: the defaults of all containers, and the images
	Profile   Kind = "profile"   // profiles/NAME.toml
	Container Kind = "container" // a container's own config.toml
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 1 << 20

// maxErrors is how many are looked for; a file of noise costs no more.
const maxErrors = 100

// maxEntries bounds variables and mounts of one file.
const maxEntries = 512

// Parse reads one file. The error is of type [Errors] and names everything that
// is wrong with it; source is what the file is called there and in the origins.
func Parse(source string, kind Kind, data []byte) (Layer, error) {
	d, syntax := read(data)
	r := reader{document: d, kind: kind, source: source, seen: map[string]int{}, element: -1}
	for i := range d.expressions {
		r.expression(&d.expressions[i])
	}
	r.endMount()
	if syntax != nil {
		r.fail(syntax.offset, syntax.err)
	}
	if len(r.places) == 0 {
		// What the walk above does not look at (dates that do not exist, tables
		// defined in two ways) is still no TOML.
		var all map[string]any
		if err := toml.Unmarshal(d.data, &all); err != nil {
			at := 0
			var decode *toml.DecodeError
			if errors.As(err, &decode) {
				at = offset(d.data, decode)
			}
			r.fail(at, fmt.Errorf("not TOML: %s", escape(strings.TrimPrefix(err.Error(), "toml: "))))
		}
	}
	if len(r.places) == 0 {
		return r.layer, nil
	}
	slices.SortStableFunc(r.places, func(a, b place) int { return a.offset - b.offset })
	all := make(Errors, len(r.places))
	for i, p := range r.places {
		line, column := position(data, p.offset)
		all[i] = &Error{File: source, Line: line, Column: column, Err: p.err}
	}
	return Layer{}, all
}

func offset(data []byte, e *toml.DecodeError) int {
	line, column := e.Position()
	at := 0
	for ; line > 1; line-- {
		next := strings.IndexByte(string(data[at:]), '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return min(at+max(column-1, 0), len(data))
}

// A reader turns a document into a Layer.
type reader struct {
	*document
	kind   Kind
	source string
	layer  Layer
	places []place        // what is wrong
	seen   map[string]int // offset where a key or table was first seen

	mount   *Mount // of the [[mounts]] table that is being read
	bad     bool   // something in that table is wrong already
	at      int    // where it begins
	element int    // counts mounts, so that keys of two of them differ
	skip    bool   // below an unknown header
}

func (r *reader) fail(offset int, err error) {
	if !r.full() {
		r.places = append(r.places, place{offset, err})
	}
}

// full says whether enough is wrong already.
func (r *reader) full() bool { return len(r.places) >= maxErrors }

func (r *reader) origin(offset int) Origin {
	line, _ := position(r.data, offset)
	return Origin{Source: r.source, Line: line}
}

func (r *reader) expression(x *expression) {
	if r.full() {
		return
	}
	if x.kind != unstable.KeyValue {
		r.endMount()
		r.skip = !r.header(x)
		return
	}
	if !r.skip {
		r.pair(x.path, x)
	}
}

// header reads [table] and [[table]], and says whether what follows is to be read.
func (r *reader) header(x *expression) bool {
	name := strings.Join(x.path, ".")
	isArray := x.kind == unstable.ArrayTable
	switch {
	case name == mountsKey && isArray:
		r.beginMount(x.start)
		return true
	case name == mountsKey:
		r.fail(x.start, errors.New("mounts are a list; write [[mounts]]"))
		return false
	case name == environmentKey, name == imagesKey, isImage(name):
		if isArray {
			r.fail(x.start, fmt.Errorf("%s is one table and no list; write [%s]", name, name))
			return false
		}
		return r.once("["+name+"]", "["+name+"]", x.start)
	}
	if k, err := findKey(name); err == nil {
		r.fail(x.start, fmt.Errorf("%s is a value and no table; write %s", name, k.example))
		return false
	}
	if strings.HasPrefix(name, environmentPrefix) {
		r.fail(x.start, errors.New(`a variable is a value and no table; write NAME = "value" below [environment]`))
		return false
	}
	known := []string{environmentKey, mountsKey, imagesKey, "images.debian"}
	if near, found := nearest(name, known); found {
		r.fail(x.start, fmt.Errorf("unknown table %s; the nearest is [%s]", quote(name), near))
	} else {
		r.fail(x.start, fmt.Errorf("unknown table %s; the tables are [environment], [[mounts]] and, in the machine's own file, [images.debian]", quote(name)))
	}
	return false
}

func isImage(name string) bool {
	for _, k := range keys {
		if strings.HasPrefix(k.name, imagesKey+".") && strings.HasPrefix(k.name, name+".") {
			return true
		}
	}
	return false
}

// once says whether a key stands there for the first time.
func (r *reader) once(id, shown string, at int) bool {
	if first, was := r.seen[id]; was {
		line, _ := position(r.data, first)
		r.fail(at, fmt.Errorf("%s is set twice, first in line %d; keep one of them", shown, line))
		return false
	}
	r.seen[id] = at
	return true
}

// pair reads key = value with the whole path of the key.
func (r *reader) pair(path []string, x *expression) {
	if r.full() {
		return
	}
	v := x.value
	switch {
	case r.mount != nil && path[0] == mountsKey:
		r.mountPair(path[1:], x)
	case path[0] == mountsKey:
		r.mountList(path, x)
	case len(path) > 1 && path[0] == environmentKey:
		r.variable(path[1:], x)
	case v.kind == unstable.InlineTable && (path[0] == environmentKey || path[0] == imagesKey):
		if !r.once("["+strings.Join(path, ".")+"]", strings.Join(path, "."), x.start) {
			return
		}
		for i := range v.pairs {
			inner := &v.pairs[i]
			r.pair(append(slices.Clone(path), inner.path...), inner)
		}
	case path[0] == environmentKey:
		r.fail(x.start, errors.New(`environment is a table; write NAME = "value" below [environment]`))
	default:
		r.single(strings.Join(path, "."), x)
	}
}

// single reads one of the keys.
func (r *reader) single(name string, x *expression) {
	k, err := findKey(name)
	if err != nil {
		if near, found := nearest(name, Keys()); found {
			if k, err := findKey(near); err == nil {
				r.fail(x.start, fmt.Errorf("unknown key %s; the nearest is %s: write %s", quote(name), near, k.example))
				return
			}
		}
		r.fail(x.start, err)
		return
	}
	if !r.once(name, name, x.start) {
		return
	}
	if k.machine && r.kind != Machine {
		r.fail(x.start, fmt.Errorf("%s holds for the whole machine; it may stand in hutch.toml alone", name))
		return
	}
	v := x.value
	if v.kind != k.kind && !(k.kind == unstable.Float && v.kind == unstable.Integer) {
		r.fail(v.start, fmt.Errorf("%s must be %s and not %s; write %s", name, kindName(k.kind), kindName(v.kind), k.example))
		return
	}
	text := v.text
	if v.kind == unstable.Integer || v.kind == unstable.Float {
		text = strings.ReplaceAll(text, "_", "")
	}
	if v.kind == unstable.Integer && k.kind == unstable.Float && strings.ContainsAny(text, "xob") {
		r.fail(v.start, fmt.Errorf("%s must be a decimal number; write %s", name, k.example))
		return
	}
	if err := k.set(&r.layer, text); err != nil {
		r.fail(v.start, fmt.Errorf("%s: %w", name, err))
		return
	}
	r.layer.from(name, r.origin(x.start))
}

func (r *reader) variable(path []string, x *expression) {
	name := strings.Join(path, ".")
	if err := CheckVariable(name); err != nil {
		r.fail(x.start, err)
		return
	}
	full := environmentPrefix + name
	if !r.once(full, full, x.start) {
		return
	}
	v := x.value
	switch {
	case v.kind != unstable.String:
		r.fail(v.start, fmt.Errorf(`%s must be a string and not %s; write %s = "value"`, full, kindName(v.kind), name))
	case len(r.layer.Environment) == maxEntries:
		r.fail(x.start, fmt.Errorf("too many variables; at most %d are allowed", maxEntries))
	default:
		if err := r.layer.set(full, v.text); err != nil {
			r.fail(v.start, fmt.Errorf("%s: %w", full, err))
			return
		}
		r.layer.from(full, r.origin(x.start))
	}
}

// mountList reads mounts = [{…}, …].
func (r *reader) mountList(path []string, x *expression) {
	const advice = `write a [[mounts]] table with source = "…" and target = "…"`
	if len(path) > 1 || x.value.kind != unstable.Array {
		r.fail(x.start, fmt.Errorf("mounts are a list; %s", advice))
		return
	}
	if !r.once(mountsKey, mountsKey, x.start) {
		return
	}
	for _, e := range x.value.elements {
		if r.full() {
			return
		}
		if e.kind != unstable.InlineTable {
			at := e.start
			if at == 0 {
				at = x.start
			}
			r.fail(at, fmt.Errorf("a mount is a table and not %s; %s", kindName(e.kind), advice))
			continue
		}
		r.beginMount(e.start)
		for i := range e.pairs {
			if r.full() {
				return
			}
			r.mountPair(e.pairs[i].path, &e.pairs[i])
		}
		r.endMount()
	}
}

func (r *reader) beginMount(at int) {
	r.mount, r.bad, r.at = &Mount{}, false, at
	r.element++
}

var mountKeys = []string{"source", "target", "mode", "optional"}

func (r *reader) mountPair(path []string, x *expression) {
	name := strings.Join(path, ".")
	bad := func(at int, err error) {
		r.bad = true
		r.fail(at, err)
	}
	if !slices.Contains(mountKeys, name) {
		if _, err := findKey(name); err == nil {
			bad(x.start, fmt.Errorf("key %s stands in a [[mounts]] table; move it above the first line in [brackets]", name))
		} else if near, found := nearest(name, mountKeys); found {
			bad(x.start, fmt.Errorf("unknown key %s of a mount; the nearest is %s", quote(name), near))
		} else {
			bad(x.start, fmt.Errorf("unknown key %s of a mount; the keys are %s", quote(name), strings.Join(mountKeys, ", ")))
		}
		return
	}
	if !r.once(fmt.Sprintf("mounts[%d].%s", r.element, name), name, x.start) {
		r.bad = true
		return
	}
	v := x.value
	kind, example := unstable.String, name+` = "…"`
	if name == "optional" {
		kind, example = unstable.Bool, "optional = true"
	}
	if v.kind != kind {
		bad(v.start, fmt.Errorf("%s of a mount must be %s and not %s; write %s", name, kindName(kind), kindName(v.kind), example))
		return
	}
	var err error
	switch name {
	case "source":
		r.mount.Source, err = parseSource(v.text)
	case "target":
		r.mount.Target, err = parseTarget(v.text)
	case "mode":
		r.mount.Mode, err = parseChoice(v.text, ReadOnly, ReadWrite)
		if err != nil {
			err = fmt.Errorf("mode %w", err)
		}
	case "optional":
		r.mount.Optional = v.text == "true"
	}
	if err != nil {
		bad(v.start, err)
	}
}

func (r *reader) endMount() {
	m := r.mount
	r.mount = nil
	if m == nil || r.bad {
		return
	}
	checked, err := m.Checked()
	if err != nil {
		r.fail(r.at, err)
		return
	}
	if !r.once("target "+checked.Target, "target "+quote(checked.Target), r.at) {
		return
	}
	if len(r.layer.Mounts) == maxEntries {
		r.fail(r.at, fmt.Errorf("too many mounts; at most %d are allowed", maxEntries))
		return
	}
	r.layer.Mounts = append(r.layer.Mounts, checked)
	r.layer.from(MountKey(checked.Target), r.origin(r.at))
}

func kindName(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a string"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a whole number"
	case unstable.Float:
		return "a number"
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}
