package ui

import (
	"os"

	"golang.org/x/sys/unix"
)

// TerminalWidth returns the columns of the terminal that f is, 80 where it does
// not say; ok is false where f is no terminal.
func TerminalWidth(f *os.File) (columns int, ok bool) {
	fd := int(f.Fd())
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 80, true
	}
	return int(size.Col), true
}

// Style colours words, or leaves them.
type Style struct{ on bool }

// StyleFor returns the style for what is written to f: colours only on a
// terminal that has them, and not against the person's wish (NO_COLOR,
// no-color.org: set and not empty).
func StyleFor(f *os.File) Style {
	_, terminal := TerminalWidth(f)
	return Style{on: coloured(terminal, os.Getenv("NO_COLOR"), os.Getenv("TERM"))}
}

func coloured(terminal bool, noColor, term string) bool {
	return terminal && noColor == "" && term != "dumb" && term != ""
}

// Bold, Dim, Red, Green and Yellow wrap text that is escaped already (ECMA-48,
// section 8.3.117, SGR). Use them outside of tables, whose cells are escaped.
func (s Style) Bold(text string) string   { return s.sgr("1", text) }
func (s Style) Dim(text string) string    { return s.sgr("2", text) }
func (s Style) Red(text string) string    { return s.sgr("31", text) }
func (s Style) Green(text string) string  { return s.sgr("32", text) }
func (s Style) Yellow(text string) string { return s.sgr("33", text) }

func (s Style) sgr(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
