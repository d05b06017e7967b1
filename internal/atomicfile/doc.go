// Package atomicfile writes files that are, at every moment and after a power
// cut, either the old content whole or the new content whole.
//
// Locking is the caller's; what the content means is, too.
package atomicfile
