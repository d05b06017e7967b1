package dhcp

import "time"

// A limiter lets a burst of packets of each sender through and then one per
// interval. It knows a bounded number of senders; when all its places are taken
// by senders that are still waiting, strangers wait too. Not safe for use by
// several goroutines.
type limiter struct {
	burst    int
	interval time.Duration
	places   int
	senders  map[string]*allowance
}

type allowance struct {
	left int
	at   time.Time // up to when left was counted
}

func newLimiter(burst int, interval time.Duration, places int) *limiter {
	return &limiter{burst, interval, places, make(map[string]*allowance)}
}

func (l *limiter) allow(sender string, now time.Time) bool {
	a := l.senders[sender]
	if a == nil {
		if len(l.senders) >= l.places {
			l.forget(now)
		}
		if len(l.senders) >= l.places {
			return false
		}
		a = &allowance{l.burst, now}
		l.senders[sender] = a
	}
	if n := now.Sub(a.at) / l.interval; n > 0 {
		a.left = int(min(int64(l.burst), int64(a.left)+int64(n)))
		a.at = a.at.Add(n * l.interval)
	} else if n < 0 {
		a.at = now // the clock went back
	}
	if a.left == 0 {
		return false
	}
	a.left--
	return true
}

// forget drops the senders whose allowance is whole again.
func (l *limiter) forget(now time.Time) {
	for k, a := range l.senders {
		if now.Sub(a.at) >= time.Duration(l.burst)*l.interval {
			delete(l.senders, k)
		}
	}
}
