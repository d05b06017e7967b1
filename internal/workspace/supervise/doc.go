// Package supervise composes the wings for the supervisor's program: what a
// running container needs of network and desktop, behind the interfaces that
// package supervisor declares.
//
// It is apart from package workspace so that the command line does not link the
// runtime.
package supervise
