// Package workspace holds the use cases: create, start, run, stop, remove, what
// there is, what a crash left. It is the only room that composes the wings.
//
// It knows nothing of options and tables, which are package cli's, and does
// nothing to a running container itself, which is its supervisor's.
package workspace
