package ui

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape makes visible what a terminal would obey instead of show: control
// characters (C0, DEL, C1, so every terminal sequence), bytes that are no UTF-8,
// marks that turn the direction of text (Unicode Technical Report 36, section
// 2.5; CVE-2021-42574) and all else that has no ink. The result is valid UTF-8 of
// printable characters in one line; escaping it again changes nothing.
func Escape(s string) string { return escape(s, "") }

// EscapeText is Escape for text of many lines: newline and tab stay.
func EscapeText(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	clean := true
	for _, r := range s { // an invalid byte comes as U+FFFD
		if r == utf8.RuneError || !shown(r, keep) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case shown(r, keep):
			b.WriteString(s[:size])
		default:
			b.WriteString(spell(r))
		}
		s = s[size:]
	}
	return b.String()
}

// shown says whether a terminal draws r and does nothing else. unicode.IsPrint
// is letters, marks, numbers, punctuation, symbols and the ASCII space: no
// control and no format character (categories Cc and Cf).
func shown(r rune, keep string) bool {
	return unicode.IsPrint(r) || strings.ContainsRune(keep, r)
}

func spell(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < 0x80:
		return fmt.Sprintf(`\x%02x`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

// wide holds the ranges of characters that take two columns (Unicode Standard
// Annex 11, classes W and F, rounded to blocks).
var wide = [][2]rune{
	{0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0xa4cf}, {0xa960, 0xa97f}, {0xac00, 0xd7a3},
	{0xf900, 0xfaff}, {0xfe30, 0xfe6f}, {0xff00, 0xff60}, {0xffe0, 0xffe6},
	{0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd},
}

// Width is the number of columns that escaped text takes on a terminal.
func Width(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if r < 0x300 {
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	for _, w := range wide {
		if r >= w[0] && r <= w[1] {
			return 2
		}
	}
	return 1
}

// Shorten cuts escaped text to the given columns, with … for what is gone.
func Shorten(s string, columns int) string {
	if Width(s) <= columns {
		return s
	}
	if columns <= 0 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n > columns-1 {
			return s[:i] + "…"
		}
	}
	return s
}
