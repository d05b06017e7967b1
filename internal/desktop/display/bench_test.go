package display_test

import (
	"testing"

	"github.com/hutch-project/hutch/internal/desktop/display"
	"github.com/hutch-project/hutch/internal/desktop/x11"
	"github.com/hutch-project/hutch/internal/desktop/xauth"
	"github.com/hutch-project/hutch/internal/testenv"
)

// ways to the same server: none between, and a broker of each level.
func ways(b *testing.B) map[string]func() *x11.Client {
	x := testenv.NewXServer(b)
	trusted := serve(b, of(x), display.Options{Level: display.Trusted})
	untrusted := serve(b, of(x), display.Options{})
	return map[string]func() *x11.Client{
		"direct":    func() *x11.Client { return client(b, x, x11.Auth{Name: xauth.Cookie, Data: x.Cookie}) },
		"trusted":   func() *x11.Client { return mustConnect(b, trusted) },
		"untrusted": func() *x11.Client { return mustConnect(b, untrusted) },
	}
}

// BenchmarkRoundTrip is the shortest question with an answer.
func BenchmarkRoundTrip(b *testing.B) {
	for name, way := range ways(b) {
		b.Run(name, func(b *testing.B) {
			c := way()
			for b.Loop() {
				if err := c.Sync(patience); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConnect is how long a program waits until it is let in.
func BenchmarkConnect(b *testing.B) {
	for name, way := range ways(b) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				way().Close()
			}
		})
	}
}

// BenchmarkPicture moves 1.2 MB from the server to the client.
func BenchmarkPicture(b *testing.B) {
	for name, way := range ways(b) {
		if name == "untrusted" {
			continue // which may not
		}
		b.Run(name, func(b *testing.B) {
			c := way()
			for b.Loop() {
				p, err := c.RootImage(c.Server.Screens[0], patience)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(p)))
			}
		})
	}
}
