package ui

import (
	"io"
	"strings"
)

// A Column of a table.
type Column struct {
	Title string
	Right bool // numbers: aligned to the right
	Whole bool // never shortened: what is to be typed or copied, such as names
}

// A Table has one line for each row. Cells may be hostile: they are escaped.
type Table struct {
	columns []Column
	rows    [][]string
}

// NewTable returns a table without rows.
func NewTable(columns ...Column) *Table { return &Table{columns: columns} }

// Row adds a row. Missing cells are empty, those too many are dropped.
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.columns))
	for i := range row {
		if i < len(cells) {
			row[i] = Escape(cells[i])
		}
	}
	t.rows = append(t.rows, row)
}

const columnGap = "  "

// Write writes the table, no line wider than width columns; 0 is no bound. Where
// not even the shortest form fits, lines are longer rather than wrong.
func (t *Table) Write(w io.Writer, width int) error {
	widths := t.widths(width)
	var b strings.Builder
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i] = c.Title
	}
	for _, row := range append([][]string{titles}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			cell = Shorten(cell, widths[i])
			pad := strings.Repeat(" ", widths[i]-Width(cell))
			if i > 0 {
				line.WriteString(columnGap)
			}
			if t.columns[i].Right {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// widths gives each column what it needs, then takes from the widest that may be
// shortened, down to their titles, until the bound is kept.
func (t *Table) widths(bound int) []int {
	widths := make([]int, len(t.columns))
	total := len(columnGap) * max(0, len(t.columns)-1)
	for i, c := range t.columns {
		widths[i] = Width(c.Title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
		total += widths[i]
	}
	for ; bound > 0 && total > bound; total-- {
		widest := -1
		for i, c := range t.columns {
			if !c.Whole && widths[i] > max(1, Width(c.Title)) && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}
