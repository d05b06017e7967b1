package dns

import (
	"net/netip"
	"sync"
)

// A gauge counts what each client has under way and refuses what is too much.
type gauge struct {
	each, all int // limits

	mu    sync.Mutex
	total int
	by    map[netip.Addr]int
}

func newGauge(each, all int) *gauge {
	return &gauge{each: each, all: all, by: make(map[netip.Addr]int)}
}

func (g *gauge) enter(client netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.all || g.by[client] >= g.each {
		return false
	}
	g.total++
	g.by[client]++
	return true
}

func (g *gauge) leave(client netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.by[client]--; g.by[client] == 0 {
		delete(g.by, client)
	}
}

func (g *gauge) full(client netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total >= g.all || g.by[client] >= g.each
}
