package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// A class says who answers a question.
type class int

const (
	denied   class = iota // nobody: there is no such name
	empty                 // nobody: the name has nothing of that kind
	own                   // the records, by label
	reverse               // the records, by address; else nobody
	either                // the records, by address; else the servers upstream
	loopback              // localhost
	forward               // the servers upstream
)

// A verdict is a class with what the records are asked for.
type verdict struct {
	class class
	label string     // own: the container's name; empty is the domain itself
	addr  netip.Addr // reverse and either: the address whose name is wanted; may be invalid
}

// closed are domains that are never asked upstream: special-use names (RFC 6761,
// 6762, 7686, 8375, 9476) and what home and company networks use inside
// (SSAC SAC113, RFC 6762 appendix G).
var closed = []string{
	"local", "lan", "home.arpa", "internal", "intranet", "private", "corp", "home", "mail",
	"localdomain", "domain", "workgroup", "fritz.box", "test", "invalid", "onion", "alt", "bogon",
}

// reserved are labels that no container may have and that are never asked
// upstream as the first of a name: whoever answers them is trusted to configure
// the asking machine.
var reserved = []string{"wpad", "isatap"}

// gatewayLabels name the router itself; the second is systemd's (nss-myhostname(8)).
var gatewayLabels = []string{"gateway", "_gateway"}

// Reserved says whether a container of that name would not be found: the name
// has a meaning of its own.
func Reserved(label string) bool {
	label = strings.ToLower(label)
	return slices.Contains(reserved, label) || slices.Contains(gatewayLabels, label) || label == "localhost" ||
		label == "localdomain" || label == "broadcasthost" || strings.HasPrefix(label, "_")
}

// classify judges a question by name, in any case and with the final dot, and by
// type. domain is that of the containers' names, in lower case, without dots at
// its ends.
func classify(name string, qtype uint16, domain string) verdict {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	labels := strings.Split(name, ".")
	last := labels[len(labels)-1]
	switch {
	case strings.Contains(name, "\\"): // escaped: a dot within a label would be read otherwise by others
		return verdict{class: denied}
	case name == "": // the root: its keys and servers may be asked for, nothing else
		if qtype == dns.TypeNS || qtype == dns.TypeDNSKEY || qtype == dns.TypeSOA {
			return verdict{class: forward}
		}
		return verdict{class: empty}
	case last == "localhost":
		return verdict{class: loopback}
	case name == domain:
		return verdict{class: own}
	case strings.HasSuffix(name, "."+domain):
		label := strings.TrimSuffix(name, "."+domain)
		if strings.Contains(label, ".") {
			return verdict{class: denied}
		}
		return verdict{class: own, label: label}
	case len(labels) == 1:
		return verdict{class: own, label: name}
	case slices.Contains(reserved, labels[0]):
		return verdict{class: denied}
	case name == "resolver.arpa" || strings.HasSuffix(name, ".resolver.arpa"): // RFC 9462, section 8
		return verdict{class: empty}
	case strings.HasSuffix(name, ".in-addr.arpa"):
		return reverseVerdict(labels[:len(labels)-2], 4)
	case strings.HasSuffix(name, ".ip6.arpa"):
		return reverseVerdict(labels[:len(labels)-2], 6)
	}
	for _, zone := range closed {
		if name == zone || strings.HasSuffix(name, "."+zone) {
			return verdict{class: denied}
		}
	}
	return verdict{class: forward}
}

// reverseVerdict judges a name below in-addr.arpa or ip6.arpa, given without
// these. What cannot be read as part of an address ends it (RFC 2317 puts names
// there); the network read so far must be wholly global to be asked upstream.
func reverseVerdict(labels []string, family int) verdict {
	var bytes [16]byte
	bits, length, step, base := 0, 32, 8, 10
	if family == 6 {
		length, step, base = 128, 4, 16
	}
	whole := true
	for _, label := range slices.Backward(labels) {
		n, err := strconv.ParseUint(label, base, step)
		if err != nil || bits == length || len(label) > 3 || (len(label) > 1 && label[0] == '0') || (family == 6 && len(label) != 1) {
			whole = false
			break
		}
		if family == 4 {
			bytes[bits/8] = byte(n)
		} else {
			bytes[bits/8] |= byte(n) << (4 - bits%8)
		}
		bits += step
	}
	addr := netip.AddrFrom16(bytes)
	if family == 4 {
		addr = netip.AddrFrom4([4]byte(bytes[:4]))
	}
	v := verdict{class: reverse}
	if globalPrefix(netip.PrefixFrom(addr, bits)) {
		v.class = either
	}
	if whole && bits == length {
		v.addr = addr
	}
	return v
}
