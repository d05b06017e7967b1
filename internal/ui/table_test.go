package ui

import (
	"strings"
	"testing"
)

func sample() *Table {
	t := NewTable(Column{Title: "NAME", Whole: true}, Column{Title: "MEMORY", Right: true}, Column{Title: "IMAGE"})
	t.Row("firefox", "1.20 GiB", "debian/bookworm with many packages")
	t.Row("日本", "3 B", "evil\x1b[2J\n", "one too many")
	t.Row("x")
	return t
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		width int
		want  string
	}{
		{0, `
NAME       MEMORY  IMAGE
firefox  1.20 GiB  debian/bookworm with many packages
日本          3 B  evil\x1b[2J\n
x
`},
		{32, `
NAME       MEMORY  IMAGE
firefox  1.20 GiB  debian/bookw…
日本          3 B  evil\x1b[2J\n
x
`},
		{1, `
NAME     MEMORY  IMAGE
firefox  1.20 …  debi…
日本        3 B  evil…
x
`},
	} {
		var b strings.Builder
		if err := sample().Write(&b, c.width); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + b.String(); got != c.want {
			t.Errorf("width %d:%s\nwant%s", c.width, got, c.want)
		}
	}
}

func TestTableFits(t *testing.T) {
	for width := 24; width < 60; width++ {
		var b strings.Builder
		sample().Write(&b, width)
		for line := range strings.Lines(b.String()) {
			if w := Width(strings.TrimSuffix(line, "\n")); w > width {
				t.Errorf("width %d: a line of %d: %q", width, w, line)
			}
		}
	}
}
