package config

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A document is a TOML text as it is written: its expressions in order, each
// with its place.
type document struct {
	data        []byte
	expressions []expression
}

// An expression is a table header, or a pair of a key and a value.
type expression struct {
	kind   unstable.Kind // Table, ArrayTable or KeyValue
	path   []string      // whole: for a pair, the header's path and then its own
	own    int           // how many parts of the path stand in the expression itself
	start  int           // offset of the first own key
	end    int           // of a pair: behind its value; of a header: behind its last key
	header int           // of a pair: index of its header in the document; -1 for none
	value  node          // of a pair
}

// A node is a value.
type node struct {
	kind       unstable.Kind
	text       string       // of a scalar: strings without quotes and escapes, others as written
	start, end int          // offsets
	pairs      []expression // of an inline table
	elements   []node       // of an array
}

// A place is an error with the offset where it is.
type place struct {
	offset int
	err    error
}

// read splits a TOML text. Where it is no TOML, what stands before the error is
// returned with it.
func read(data []byte) (*document, *place) {
	d := &document{data: data}
	if len(data) > MaxSize {
		return d, &place{0, fmt.Errorf("%d bytes are too large for a configuration; at most %d are read", len(data), MaxSize)}
	}
	if i := invalidUTF8(data); i >= 0 {
		return d, &place{i, errors.New("not UTF-8; save the file with that encoding")}
	}
	// The parser measures offsets by capacity, so nothing may be behind the end.
	d.data = slices.Clip(data)
	var p unstable.Parser
	p.Reset(d.data)
	header := -1
	var prefix []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			x := expression{kind: e.Kind, header: -1}
			x.keys(nil, e.Key())
			prefix, header = x.path, len(d.expressions)
			d.expressions = append(d.expressions, x)
		case unstable.KeyValue:
			x := d.pair(prefix, e)
			x.header = header
			d.expressions = append(d.expressions, x)
		}
	}
	if err := p.Error(); err != nil {
		at := len(d.data)
		var syntax *unstable.ParserError
		if errors.As(err, &syntax) {
			if o := len(d.data) - cap(syntax.Highlight); syntax.Highlight != nil && o >= 0 && o <= len(d.data) {
				at = o
			}
		}
		return d, &place{at, fmt.Errorf("not TOML: %s", escape(err.Error()))}
	}
	return d, nil
}

// pair copies a pair out of the parser, which forgets it at the next expression.
func (d *document) pair(prefix []string, n *unstable.Node) expression {
	x := expression{kind: unstable.KeyValue, header: -1}
	x.keys(prefix, n.Key())
	x.end = int(n.Raw.Offset + n.Raw.Length)
	x.value = d.node(n.Value())
	if x.value.start == 0 { // arrays carry no place of their own
		equals := bytes.IndexByte(d.data[x.lastKeyEnd(n):], '=') + x.lastKeyEnd(n)
		x.value.start = equals + 1 + len(d.data[equals+1:]) - len(bytes.TrimLeft(d.data[equals+1:], " \t"))
	}
	x.value.end = x.end
	return x
}

func (x *expression) keys(prefix []string, it unstable.Iterator) {
	x.path = slices.Clip(slices.Clone(prefix))
	for it.Next() {
		k := it.Node()
		if x.own == 0 {
			x.start = int(k.Raw.Offset)
		}
		x.own++
		x.path = append(x.path, string(k.Data))
		x.end = int(k.Raw.Offset + k.Raw.Length)
	}
}

func (x *expression) lastKeyEnd(n *unstable.Node) int {
	end := 0
	for it := n.Key(); it.Next(); {
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	return end
}

func (d *document) node(n *unstable.Node) node {
	v := node{kind: n.Kind, start: int(n.Raw.Offset), end: int(n.Raw.Offset + n.Raw.Length)}
	switch n.Kind {
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			v.elements = append(v.elements, d.node(it.Node()))
		}
	case unstable.InlineTable:
		at := v.start + 1
		for it := n.Children(); it.Next(); {
			p := d.pair(nil, it.Node())
			v.pairs = append(v.pairs, p)
			at = p.end
		}
		v.end = d.closing(at, '}') + 1
	default:
		v.text = string(n.Data)
	}
	return v
}

// closing returns the offset of the bracket that ends a list whose last element
// ends at offset at: only white space, commas and comments are before it.
func (d *document) closing(at int, bracket byte) int {
	for ; at < len(d.data) && d.data[at] != bracket; at++ {
		if d.data[at] == '#' {
			at += max(bytes.IndexByte(d.data[at:], '\n'), 0)
		}
	}
	return at
}

// position returns line and column of an offset, in characters, from 1.
func position(data []byte, offset int) (line, column int) {
	before := data[:min(offset, len(data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return bytes.Count(before, []byte{'\n'}) + 1, utf8.RuneCount(before[start:]) + 1
}

func invalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size <= 1 {
			return i
		}
		i += size
	}
	return -1
}

// escape makes a message of the parser, which may quote the file, safe to print.
func escape(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return utf8.RuneError
		}
		return r
	}, s)
}
