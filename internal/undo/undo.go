package undo

import (
	"errors"
	"fmt"
)

// A Stack holds the ways back of the steps done so far. The zero value is ready.
//
//	var back undo.Stack
//	defer back.UnwindOn(&err)
//	…
//	back.Push("remove folder", func() error { return os.Remove(dir) })
//	…
//	back.Release()
type Stack struct{ steps []step }

type step struct {
	name string
	run  func() error
}

// Push adds the way back of a step that was just done. The name completes the
// sentence "could not …".
func (s *Stack) Push(name string, run func() error) {
	s.steps = append(s.steps, step{name, run})
}

// Release forgets all ways back: what was done stays.
func (s *Stack) Release() { s.steps = nil }

// Take hands all ways back to the caller as one function and forgets them.
func (s *Stack) Take() func() error {
	taken := &Stack{steps: s.steps}
	s.steps = nil
	return taken.Unwind
}

// Unwind runs all ways back, the last first, goes on after a failure and returns
// all failures joined.
func (s *Stack) Unwind() error {
	var failures []error
	for i := len(s.steps) - 1; i >= 0; i-- {
		if err := s.steps[i].run(); err != nil {
			failures = append(failures, fmt.Errorf("could not %s: %w", s.steps[i].name, err))
		}
	}
	s.steps = nil
	return errors.Join(failures...)
}

// UnwindOn unwinds when *err is set, and joins to it what could not be undone.
// It is meant to be deferred.
func (s *Stack) UnwindOn(err *error) {
	if *err == nil {
		return
	}
	if failed := s.Unwind(); failed != nil {
		*err = errors.Join(*err, failed)
	}
}
