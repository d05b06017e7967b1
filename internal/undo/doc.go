// Package undo keeps the ways back: whoever changes the machine pushes the step
// that takes the change back, a failure runs them in reverse, success lets go of
// them at the commit point.
//
// It holds no knowledge of what is undone. Traces that a crash left behind, where
// no way back was kept, are swept by the package that makes them.
package undo
