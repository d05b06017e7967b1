package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	times := []time.Duration{5, 1, 4, 2, 3}
	for p, want := range map[float64]time.Duration{1: 1, 20: 1, 50: 3, 80: 4, 95: 5, 100: 5} {
		if got := percentile(times, p); got != want {
			t.Errorf("percentile %v of %v = %v, want %v", p, times, got, want)
		}
	}
	if !slices.Equal(times, []time.Duration{5, 1, 4, 2, 3}) {
		t.Error("the order of the rounds is lost")
	}
	if percentile(nil, 50) != 0 {
		t.Error("of nothing: want 0")
	}
}

func TestMeasureTakesTurns(t *testing.T) {
	var order []string
	clock := time.Unix(0, 0)
	now := func() time.Time { return clock }
	make := func(name string, takes time.Duration) *side {
		return &side{
			before: func(int) error { clock = clock.Add(time.Hour); return nil },
			run: func(round int) error {
				order = append(order, fmt.Sprint(name, round))
				clock = clock.Add(takes)
				return nil
			},
			after: func(int) error { clock = clock.Add(time.Hour); return nil },
		}
	}
	r, err := measure(comparison{name: "exec", rounds: 3, hutch: make("h", 2*time.Second), lxc: make("l", 4*time.Second), reach: 0.5}, now)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(order, " "), "h-1 l-1 l0 h0 h1 l1 l2 h2"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if got, want := strings.Join(r.cells(), "|"), "exec|3|2.0 s|2.0 s|4.0 s|4.0 s|0.50|≤ 0.5 × kept"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	r.reach = 0.4
	if got := r.verdict(); got != "≤ 0.4 × not yet" {
		t.Error(got)
	}
	r.reach, r.most = 0, time.Second
	if got := r.verdict(); got != "≤ 1.0 s not yet" {
		t.Error(got)
	}
}

func TestMeasureStopsAtAnError(t *testing.T) {
	broken := errors.New("broken")
	_, err := measure(comparison{name: "exec", rounds: 3, lxc: &side{run: func(int) error { return broken }}}, time.Now)
	if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "exec: lxc: ") {
		t.Error(err)
	}
}

func TestReplace(t *testing.T) {
	got, err := replace("a\n"+begin+"\nold\n"+end+"\nz\n", "new\n")
	if want := "a\n" + begin + "\nnew\n" + end + "\nz\n"; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	for _, page := range []string{"", begin, end + begin} {
		if _, err := replace(page, "new"); err == nil {
			t.Errorf("%q: no error", page)
		}
	}
}
