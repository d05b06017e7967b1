package config

import (
	"fmt"
	"strings"
)

// An Error is one thing wrong with one file. Everything that the file supplied is
// escaped in it.
type Error struct {
	File   string // empty where there is none
	Line   int    // from 1; 0 where the whole file is meant
	Column int    // in characters, from 1
	Err    error  // what is wrong, and what to write instead
}

func (e *Error) Error() string {
	switch {
	case e.Line == 0:
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	case e.File == "":
		return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
	}
	return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Errors are all things wrong with one file, in the order of its lines.
type Errors []*Error

// maxShown bounds what a broken file prints.
const maxShown = 20

func (e Errors) Error() string {
	var b strings.Builder
	for i, one := range e {
		if i == maxShown {
			fmt.Fprintf(&b, "\n… and %d more", len(e)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
	}
	return b.String()
}

func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}

// nearest returns the word that wanted was probably meant to be: at most a third
// of it differs.
func nearest(wanted string, words []string) (string, bool) {
	best, least := "", max(1, len(wanted)/3)+1
	if len(wanted) > 64 { // nobody mistypes that much, and the distance costs length × length
		return "", false
	}
	for _, w := range words {
		if d := distance(strings.ToLower(wanted), w); d < least {
			best, least = w, d
		}
	}
	return best, best != ""
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours between two words (optimal string alignment).
func distance(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
