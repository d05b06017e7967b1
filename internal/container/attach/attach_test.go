package attach

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// All that was written before the end arrives, also where the pipe stays open.
func TestDrainAfterTheEnd(t *testing.T) {
	from, w := pipe(t)
	ended, end := pipe(t)
	text := strings.Repeat("x", 60_000)
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	end.Close()
	var got bytes.Buffer
	drain(&got, from, ended, time.Millisecond)
	if got.String() != text {
		t.Errorf("%d bytes of %d", got.Len(), len(text))
	}
}

func TestDrainUntilClosed(t *testing.T) {
	from, w := pipe(t)
	ended, _ := pipe(t)
	go func() {
		for range 10 {
			w.WriteString("line\n")
		}
		w.Close()
	}()
	var got bytes.Buffer
	drain(&got, from, ended, 0)
	if got.String() != strings.Repeat("line\n", 10) {
		t.Errorf("got %q", got.String())
	}
}

// What stays behind and writes for good does not keep hutch.
func TestDrainEndsWithAnEndlessWriter(t *testing.T) {
	from, w := pipe(t)
	ended, end := pipe(t)
	block := make([]byte, 4096)
	go func() {
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}()
	end.Close()
	done := make(chan int)
	go func() {
		var got bytes.Buffer
		drain(&got, from, ended, 0)
		done <- got.Len()
	}()
	select {
	case n := <-done:
		if n > most+64<<10 {
			t.Errorf("%d bytes were taken", n)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on for good")
	}
}

func TestIsNull(t *testing.T) {
	r, _ := pipe(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	if !isNull(null) || isNull(zero) || isNull(r) {
		t.Errorf("null %v, zero %v, a pipe %v", isNull(null), isNull(zero), isNull(r))
	}
}
