package ui

import (
	"testing"
	"time"
)

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 1536: "1.50 KiB", 10 << 10: "10.0 KiB", 1023 << 10: "1023 KiB",
		1<<20 - 1: "1.00 MiB", 25 << 20: "25.0 MiB", 3 << 30: "3.00 GiB", 1<<64 - 1: "16.0 EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 µs", 850 * time.Microsecond: "850 µs", 4200 * time.Microsecond: "4.2 ms", 9960 * time.Microsecond: "10 ms",
		250 * time.Millisecond: "250 ms", 999600 * time.Microsecond: "1.0 s", 1300 * time.Millisecond: "1.3 s",
		59970 * time.Millisecond: "1 min", 125 * time.Second: "2 min 5 s", time.Hour: "1 h", 200 * time.Minute: "3 h 20 min", 102 * time.Hour: "4 d 6 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
}
