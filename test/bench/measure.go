package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hutch-project/hutch/internal/ui"
)

// A side does one thing once for each round. Only run is timed; before and after
// may be nil.
type side struct {
	before, run, after func(round int) error
}

// A comparison is one line of the table.
type comparison struct {
	name       string
	rounds     int
	hutch, lxc *side   // nil where one has no such thing, or is not to be measured
	reach      float64 // the promised ratio of hutch to LXC; 0 for none
	most       time.Duration
}

// A result holds what was measured, in the order of the rounds.
type result struct {
	comparison
	hutchTimes, lxcTimes []time.Duration
}

// measure runs both sides for the given number of rounds, each going first in
// every other round, after one round that does not count.
func measure(c comparison, now func() time.Time) (result, error) {
	r := result{comparison: c}
	for round := -1; round < c.rounds; round++ {
		sides := []struct {
			name  string
			side  *side
			times *[]time.Duration
		}{{"hutch", c.hutch, &r.hutchTimes}, {"lxc", c.lxc, &r.lxcTimes}}
		if round%2 == 0 {
			slices.Reverse(sides)
		}
		for _, s := range sides {
			if s.side == nil {
				continue
			}
			took, err := once(s.side, round, now)
			if err != nil {
				return r, fmt.Errorf("%s: %s: %w", c.name, s.name, err)
			}
			if round >= 0 {
				*s.times = append(*s.times, took)
			}
		}
	}
	return r, nil
}

func once(s *side, round int, now func() time.Time) (time.Duration, error) {
	if s.before != nil {
		if err := s.before(round); err != nil {
			return 0, err
		}
	}
	start := now()
	err := s.run(round)
	took := now().Sub(start)
	if s.after != nil && err == nil {
		err = s.after(round)
	}
	return took, err
}

// percentile is the nearest-rank percentile, p in (0, 100]; of nothing it is 0.
func percentile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	return sorted[max(0, int(math.Ceil(p/100*float64(len(sorted))))-1)]
}

func median(times []time.Duration) time.Duration { return percentile(times, 50) }

// ratio is hutch's median over LXC's; 0 where one is missing.
func (r result) ratio() float64 {
	if len(r.hutchTimes) == 0 || len(r.lxcTimes) == 0 {
		return 0
	}
	return float64(median(r.hutchTimes)) / float64(median(r.lxcTimes))
}

// verdict says whether what was promised is kept; "" where nothing was, or where
// it could not be measured.
func (r result) verdict() string {
	switch {
	case r.reach > 0 && r.ratio() > 0:
		return word(r.ratio() <= r.reach, fmt.Sprintf("≤ %.2g ×", r.reach))
	case r.most > 0 && len(r.hutchTimes) > 0:
		return word(median(r.hutchTimes) <= r.most, "≤ "+ui.Duration(r.most))
	}
	return ""
}

func word(kept bool, promise string) string {
	if kept {
		return promise + " kept"
	}
	return promise + " not yet"
}

// cells are one line of the table: name, rounds, hutch's median and 95th
// percentile, LXC's, ratio, verdict.
func (r result) cells() []string {
	pair := func(times []time.Duration) []string {
		if len(times) == 0 {
			return []string{"-", "-"}
		}
		return []string{ui.Duration(median(times)), ui.Duration(percentile(times, 95))}
	}
	line := append([]string{r.name, fmt.Sprint(r.rounds)}, pair(r.hutchTimes)...)
	line = append(line, pair(r.lxcTimes)...)
	ratio := "-"
	if r.ratio() > 0 {
		ratio = fmt.Sprintf("%.2f", r.ratio())
	}
	return append(line, ratio, r.verdict())
}
