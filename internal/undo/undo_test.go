package undo

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestUnwindRunsInReverseAndGoesOnAfterAFailure(t *testing.T) {
	var ran []string
	var s Stack
	step := func(name string, err error) {
		s.Push(name, func() error { ran = append(ran, name); return err })
	}
	step("first", nil)
	step("second", errors.New("stuck"))
	step("third", nil)
	err := s.Unwind()
	if want := []string{"third", "second", "first"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	if err == nil || !strings.Contains(err.Error(), "could not second: stuck") {
		t.Errorf("error %v does not name the failed step", err)
	}
	if err := s.Unwind(); err != nil || len(ran) != 3 {
		t.Errorf("a second unwind ran something: %v %v", ran, err)
	}
}

func TestUnwindOnKeepsTheCause(t *testing.T) {
	cause := errors.New("cause")
	f := func() (err error) {
		var s Stack
		defer s.UnwindOn(&err)
		s.Push("go back", func() error { return errors.New("stuck") })
		return cause
	}
	err := f()
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "could not go back") {
		t.Errorf("got %v", err)
	}
}

func TestReleaseAndTake(t *testing.T) {
	ran := 0
	count := func() error { ran++; return nil }
	var s Stack
	s.Push("a", count)
	s.Release()
	s.Push("b", count)
	back := s.Take()
	if err := s.Unwind(); err != nil || ran != 0 {
		t.Fatalf("released or taken steps ran: %d, %v", ran, err)
	}
	if err := back(); err != nil || ran != 1 {
		t.Fatalf("taken step ran %d times, %v", ran, err)
	}
}
