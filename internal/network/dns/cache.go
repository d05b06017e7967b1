package dns

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	cacheBytes = 4 << 20 // of packed answers and keys, overhead included
	cacheEntry = 4096    // a longer answer is not kept
	entryCost  = 256     // what an entry takes beside its packet and its name

	maxTTL      = time.Hour
	maxNegative = 5 * time.Minute // RFC 2308, section 5 allows up to three hours
)

// A key has the client in it: from a shared cache a container could read, by the
// time left, which names another one has looked up.
type key struct {
	client netip.Addr
	name   string // lower case
	qtype  uint16
	do, cd bool
}

// A cache keeps the answers used last, as packets. It is bounded in bytes.
type cache struct {
	mu      sync.Mutex
	entries map[key]*list.Element
	order   *list.List // used last at the front
	bytes   int
}

type entry struct {
	key     key
	packet  []byte
	stored  time.Time
	expires time.Time
}

func newCache() *cache {
	return &cache{entries: make(map[key]*list.Element), order: list.New()}
}

func (e *entry) cost() int { return entryCost + len(e.packet) + len(e.key.name) }

// get returns a copy of the answer with its times counted down, or nil.
func (c *cache) get(k key, now time.Time) *dns.Msg {
	c.mu.Lock()
	el := c.entries[k]
	if el == nil {
		c.mu.Unlock()
		return nil
	}
	e := el.Value.(*entry)
	if !now.Before(e.expires) || now.Before(e.stored) {
		c.drop(el)
		c.mu.Unlock()
		return nil
	}
	c.order.MoveToFront(el)
	c.mu.Unlock() // entries are never changed

	m := new(dns.Msg)
	if m.Unpack(e.packet) != nil {
		return nil
	}
	age := uint32(now.Sub(e.stored) / time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			h := rr.Header()
			h.Ttl -= min(age, h.Ttl)
		}
	}
	return m
}

func (c *cache) put(k key, m *dns.Msg, now time.Time) {
	ttl := lifetime(m)
	if ttl <= 0 {
		return
	}
	packet, err := m.Pack()
	if err != nil || len(packet) > cacheEntry {
		return
	}
	e := &entry{k, packet, now, now.Add(ttl)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[k]; old != nil {
		c.drop(old)
	}
	c.entries[k] = c.order.PushFront(e)
	c.bytes += e.cost()
	for c.bytes > cacheBytes {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(el *list.Element) {
	e := c.order.Remove(el).(*entry)
	delete(c.entries, e.key)
	c.bytes -= e.cost()
}

// lifetime says for how long an answer may be kept; 0 is not at all.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated || (m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError) {
		return 0
	}
	ttl, seen := maxTTL, false
	for _, rr := range m.Answer {
		ttl, seen = min(ttl, time.Duration(rr.Header().Ttl)*time.Second), true
	}
	if m.Rcode == dns.RcodeSuccess && seen {
		return ttl
	}
	for _, rr := range m.Ns { // RFC 2308, section 5
		if soa, ok := rr.(*dns.SOA); ok {
			return min(ttl, maxNegative, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
		}
	}
	return 0
}
