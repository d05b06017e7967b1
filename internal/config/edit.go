package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// errForm is what is said of a file that means the right thing in a way that is
// too clever to be edited by a program.
var errForm = errors.New("the file is written in a form that hutch can not edit; edit it by hand: hutch config edit")

// Get returns the value that a file sets for one key (of [Keys], or
// environment.NAME), and whether it does.
func Get(file []byte, kind Kind, key string) (string, bool, error) {
	l, err := Parse("", kind, file)
	if err != nil {
		return "", false, err
	}
	return l.Get(key)
}

// Set returns file with one key set to the value given as text. Comments, order
// and all other bytes stay. A file that has mistakes in it is not edited.
func Set(file []byte, kind Kind, key, value string) ([]byte, error) {
	wanted, err := Parse("", kind, file)
	if err != nil {
		return nil, err
	}
	literal, path, err := spell(kind, key, value)
	if err != nil {
		return nil, err
	}
	if err := wanted.set(key, value); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	d, _ := read(file)
	return checked(kind, wanted, d.put(path, literal)...)
}

// Unset returns file without one key; a key that is not set is no error.
func Unset(file []byte, kind Kind, key string) ([]byte, error) {
	wanted, err := Parse("", kind, file)
	if err != nil {
		return nil, err
	}
	_, set, err := wanted.Get(key)
	if err != nil {
		return nil, err
	}
	if !set {
		return file, nil
	}
	path := keyPath(key)
	wanted.unset(key)
	d, _ := read(file)
	return checked(kind, wanted, d.remove(path)...)
}

// AddMount returns file with a mount added, in place of one with its target.
func AddMount(file []byte, kind Kind, m Mount) ([]byte, error) {
	m, err := m.Checked()
	if err != nil {
		return nil, err
	}
	wanted, err := Parse("", kind, file)
	if err != nil {
		return nil, err
	}
	if slices.Contains(wanted.Mounts, m) {
		return file, nil
	}
	file, err = RemoveMount(file, kind, m.Target)
	if err != nil {
		return nil, err
	}
	wanted.Mounts = append(slices.DeleteFunc(slices.Clone(wanted.Mounts), func(o Mount) bool { return o.Target == m.Target }), m)
	d, _ := read(file)
	return checked(kind, wanted, d.putMount(m)...)
}

// RemoveMount returns file without the mount at a target; one that is not there
// is no error.
func RemoveMount(file []byte, kind Kind, target string) ([]byte, error) {
	wanted, err := Parse("", kind, file)
	if err != nil {
		return nil, err
	}
	target, err = parseTarget(target)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(wanted.Mounts, func(m Mount) bool { return m.Target == target })
	if i < 0 {
		return file, nil
	}
	d, _ := read(file)
	candidates := d.removeMount(i)
	wanted.Mounts = slices.Delete(slices.Clone(wanted.Mounts), i, i+1)
	return checked(kind, wanted, candidates...)
}

// spell returns a value as TOML, and the path of its key.
func spell(kind Kind, name, value string) (literal string, path []string, err error) {
	if _, is := cutEnvironment(name); is {
		return quoteTOML(value), keyPath(name), nil
	}
	k, err := findKey(name)
	if err != nil {
		return "", nil, err
	}
	if k.machine && kind != Machine {
		return "", nil, fmt.Errorf("%s holds for the whole machine; it may stand in hutch.toml alone", name)
	}
	var l Layer
	if err := k.set(&l, value); err != nil {
		return "", nil, fmt.Errorf("%s: %w", name, err)
	}
	text, _ := k.get(l)
	return k.literal(text), keyPath(name), nil
}

// keyPath splits a key; no part of a known one has a dot in it.
func keyPath(name string) []string { return strings.Split(name, ".") }

// literal writes a value of the key as TOML.
func (k key) literal(text string) string {
	if k.kind == unstable.String {
		return quoteTOML(text)
	}
	return text
}

func (l *Layer) unset(name string) {
	if variable, is := cutEnvironment(name); is {
		l.Environment = maps.Clone(l.Environment)
		delete(l.Environment, variable)
		return
	}
	// All but this one, said anew.
	kept := Layer{Environment: l.Environment, Mounts: l.Mounts}
	for _, k := range keys {
		if text, set := k.get(*l); set && k.name != name {
			if err := k.set(&kept, text); err != nil {
				panic(fmt.Sprintf("config: %s = %q was read and can not be set: %v", k.name, text, err))
			}
		}
	}
	*l = kept
}

// checked returns the first candidate that means what is wanted.
func checked(kind Kind, wanted Layer, candidates ...[]byte) ([]byte, error) {
	for _, c := range candidates {
		got, err := Parse("", kind, c)
		if err == nil && same(got, wanted) {
			return c, nil
		}
	}
	return nil, errForm
}

func same(a, b Layer) bool {
	return maps.Equal(said(a), said(b))
}

func said(l Layer) map[string]string {
	m := map[string]string{}
	for _, e := range l.Entries() {
		m[e.Key] = e.Value
	}
	return m
}

// found is a pair somewhere in a document.
type found struct {
	path  []string
	x     *expression
	inner bool // in an inline table
}

// pairs lists all pairs, those in inline tables behind the one that holds them.
func (d *document) pairs() []found {
	var all []found
	var walk func(prefix []string, x *expression, inner bool)
	walk = func(prefix []string, x *expression, inner bool) {
		path := x.path
		if inner {
			path = append(slices.Clone(prefix), x.path...)
		}
		all = append(all, found{path, x, inner})
		for i := range x.value.pairs {
			walk(path, &x.value.pairs[i], true)
		}
	}
	for i := range d.expressions {
		if d.expressions[i].kind == unstable.KeyValue {
			walk(nil, &d.expressions[i], false)
		}
	}
	return all
}

// put returns texts in which the key at path may have the value; the best first.
func (d *document) put(path []string, literal string) [][]byte {
	all := d.pairs()
	for _, f := range all {
		if slices.Equal(f.path, path) {
			return [][]byte{d.replace(f.x.value.start, f.x.end, literal)}
		}
	}
	line := func(from int) string { return joinKey(path[from:]) + " = " + literal }
	parent := path[:len(path)-1]
	var candidates [][]byte

	// Below the table's header, where it has one.
	for i := range d.expressions {
		h := &d.expressions[i]
		if h.kind == unstable.Table && slices.Equal(h.path, parent) {
			candidates = append(candidates, d.insertLine(d.endOfTable(i), line(len(parent))))
		}
	}
	// In an inline table that is a part of the path.
	for _, f := range all {
		if n := len(f.path); f.x.value.kind == unstable.InlineTable && n < len(path) && slices.Equal(f.path, path[:n]) {
			candidates = append(candidates, d.insertInline(f.x.value, line(n)))
		}
	}
	// Beside a sister that is written with dots.
	for i := len(all) - 1; i >= 0; i-- {
		f := all[i]
		if n := len(f.path) - f.x.own; !f.inner && len(parent) > 0 && f.x.own > 1 && len(f.path) == len(path) && slices.Equal(f.path[:len(parent)], parent) {
			candidates = append(candidates, d.insertLine(d.endOfLine(f.x.end), line(n)))
		}
	}
	if len(parent) == 0 {
		return append(candidates, d.insertLine(d.endOfRoot(), line(0)))
	}
	// A new table at the end, or dots at the top.
	table := "[" + joinKey(parent) + "]\n" + line(len(parent)) + "\n"
	return append(candidates, d.appendBlock(table), d.insertLine(d.endOfRoot(), line(0)))
}

// remove returns texts without the key at path.
func (d *document) remove(path []string) [][]byte {
	for _, f := range d.pairs() {
		if !slices.Equal(f.path, path) {
			continue
		}
		if f.inner {
			return d.cutElement(f.x.start, f.x.end)
		}
		return [][]byte{d.replace(d.startOfLine(f.x.start), d.endOfLine(f.x.end), "")}
	}
	return nil
}

// mountTable writes one mount.
func mountTable(m Mount) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "[[mounts]]\nsource = %s\ntarget = %s\nmode = %s\n", quoteTOML(m.Source), quoteTOML(m.Target), quoteTOML(string(m.Mode)))
	if m.Optional {
		b.WriteString("optional = true\n")
	}
	return b.Bytes()
}

func (d *document) putMount(m Mount) [][]byte {
	var candidates [][]byte
	for _, f := range d.pairs() {
		if !slices.Equal(f.path, []string{mountsKey}) || f.x.value.kind != unstable.Array {
			continue
		}
		inline := fmt.Sprintf("{ source = %s, target = %s, mode = %s", quoteTOML(m.Source), quoteTOML(m.Target), quoteTOML(string(m.Mode)))
		if m.Optional {
			inline += ", optional = true"
		}
		candidates = append(candidates, d.insertElement(f.x.value.start, f.x.value.end, lastEnd(f.x.value.elements), inline+" }"))
	}
	return append(candidates, d.appendBlock(string(mountTable(m))))
}

// removeMount returns texts without the mount of that index.
func (d *document) removeMount(index int) [][]byte {
	n := -1
	for i := range d.expressions {
		x := &d.expressions[i]
		switch {
		case x.kind == unstable.ArrayTable:
			n++
			if n == index {
				return [][]byte{d.replace(d.startOfLine(x.start), d.endOfTable(i), "")}
			}
		case x.kind == unstable.KeyValue && slices.Equal(x.path, []string{mountsKey}):
			for _, e := range x.value.elements {
				n++
				if n == index {
					return d.cutElement(e.start, e.end)
				}
			}
		}
	}
	return nil
}

func lastEnd(elements []node) int {
	if len(elements) == 0 {
		return 0
	}
	return elements[len(elements)-1].end
}

func joinKey(path []string) string {
	parts := make([]string, len(path))
	for i, p := range path {
		parts[i] = quoteKey(p)
	}
	return strings.Join(parts, ".")
}

// newline is the line ending that the file uses.
func (d *document) newline() string {
	if i := bytes.IndexByte(d.data, '\n'); i > 0 && d.data[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

func (d *document) replace(start, end int, with string) []byte {
	with = strings.ReplaceAll(with, "\n", d.newline())
	return slices.Concat(d.data[:start], []byte(with), d.data[end:])
}

// startOfLine and endOfLine find the line that an offset is in; the end is behind
// its line break.
func (d *document) startOfLine(at int) int {
	return bytes.LastIndexByte(d.data[:at], '\n') + 1
}

func (d *document) endOfLine(at int) int {
	if i := bytes.IndexByte(d.data[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(d.data)
}

// endOfTable is behind the last pair of the table with the header i, or behind
// the header.
func (d *document) endOfTable(i int) int {
	end := d.expressions[i].end
	for _, x := range d.expressions {
		if x.kind == unstable.KeyValue && x.header == i {
			end = x.end
		}
	}
	return d.endOfLine(end)
}

// endOfRoot is where one more pair above all tables goes: behind the last one,
// else above the first table and the comment on it, else at the end.
func (d *document) endOfRoot() int {
	end := -1
	for _, x := range d.expressions {
		if x.kind == unstable.KeyValue && x.header == -1 {
			end = d.endOfLine(x.end)
		}
	}
	if end >= 0 {
		return end
	}
	if len(d.expressions) == 0 {
		return len(d.data)
	}
	end = d.startOfLine(d.expressions[0].start)
	for end > 0 {
		above := d.startOfLine(end - 1)
		if !bytes.HasPrefix(bytes.TrimLeft(d.data[above:end], " \t"), []byte("#")) {
			break
		}
		end = above
	}
	return end
}

// insertLine puts a line at an offset that begins one, or at the end of a file
// that lacks its last line break.
func (d *document) insertLine(at int, line string) []byte {
	if at > 0 && d.data[at-1] != '\n' {
		line = "\n" + line
	}
	return d.replace(at, at, line+"\n")
}

// appendBlock puts lines at the end, an empty line above them.
func (d *document) appendBlock(block string) []byte {
	switch {
	case len(bytes.TrimSpace(d.data)) == 0:
	case !bytes.HasSuffix(d.data, []byte("\n")):
		block = "\n\n" + block
	case !bytes.HasSuffix(d.data, []byte("\n\n")) && !bytes.HasSuffix(d.data, []byte("\n\r\n")):
		block = "\n" + block
	}
	return d.replace(len(d.data), len(d.data), block)
}

func (d *document) insertInline(table node, pair string) []byte {
	last := 0
	if n := len(table.pairs); n > 0 {
		last = table.pairs[n-1].end
	}
	return d.insertElement(table.start, table.end, last, pair)
}

// insertElement puts one more element behind the last of an inline list or table,
// which begins and ends at those offsets; last is 0 where there is none.
func (d *document) insertElement(start, end, last int, element string) []byte {
	if last == 0 {
		if d.data[start] == '{' {
			element = " " + element + " "
		}
		return d.replace(start+1, start+1, element)
	}
	return d.replace(last, last, ", "+element)
}

// cutElement returns texts without one element of an inline list: with the comma
// behind it, or the one before it, or with none.
func (d *document) cutElement(start, end int) [][]byte {
	var candidates [][]byte
	behind := end + len(d.data[end:]) - len(bytes.TrimLeft(d.data[end:], " \t\r\n"))
	if behind < len(d.data) && d.data[behind] == ',' {
		to := behind + 1
		for to < len(d.data) && d.data[to] == ' ' {
			to++
		}
		candidates = append(candidates, d.replace(start, to, ""))
	}
	before := len(bytes.TrimRight(d.data[:start], " \t\r\n"))
	if before > 0 && d.data[before-1] == ',' {
		candidates = append(candidates, d.replace(before-1, end, ""))
	}
	return append(candidates, d.replace(start, end, ""))
}
