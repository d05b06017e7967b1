// Package console keeps a container's console: a bounded log of it, and those who
// are attached. Whose process it lives in, and how one attaches, is package
// supervisor's.
package console
