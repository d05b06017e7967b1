package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxFile    = 64 << 10 // bytes read of a file
	maxServers = 3        // MAXNS, resolv.conf(5)
	port       = 53
)

var (
	stubs   = []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("127.0.0.54")} // systemd-resolved.service(8)
	machine = netip.MustParseAddr("127.0.0.1")
)

// Facts are what the decision rests on.
type Facts struct {
	ResolvConf []byte       // /etc/resolv.conf; nil where it cannot be read
	Systemd    []byte       // /run/systemd/resolve/resolv.conf: the servers behind systemd's stub
	Own        []netip.Addr // hutch's own servers, which must not be asked in a circle
}

// A Choice is the servers to ask, in this order, from the host's network
// namespace, and why.
type Choice struct {
	Servers []netip.AddrPort
	Why     string // one line
}

// Decide chooses. A resolver on the host itself (systemd-resolved's stub,
// NetworkManager's or the person's own dnsmasq) is asked as the host's programs
// ask it: it knows which domain belongs to which link or VPN. The servers behind
// systemd's stub come after it, for when it does not listen.
func Decide(f Facts) Choice {
	listed := servers(f.ResolvConf, f.Own)
	stub := slices.ContainsFunc(listed, func(a netip.Addr) bool { return slices.Contains(stubs, a) })
	var chosen []netip.Addr
	var why string
	switch {
	case stub:
		behind := servers(f.Systemd, f.Own)
		for _, a := range append(listed, behind...) {
			if !slices.Contains(chosen, a) {
				chosen = append(chosen, a)
			}
		}
		why = fmt.Sprintf("resolv.conf names systemd-resolved's stub; behind it are %d servers", len(behind))
	case len(listed) > 0 && listed[0].IsLoopback():
		chosen, why = listed, "resolv.conf names a resolver on the host itself"
	case len(listed) > 0:
		chosen, why = listed, "resolv.conf names them"
	default:
		if chosen = servers(f.Systemd, f.Own); len(chosen) > 0 {
			why = "resolv.conf names none, systemd-resolved knows these"
			break
		}
		why = "nothing names a server: the host's own, as resolv.conf(5) has it"
		chosen = []netip.Addr{machine}
	}
	c := Choice{}
	names := make([]string, len(chosen))
	for i, a := range chosen {
		c.Servers = append(c.Servers, netip.AddrPortFrom(a, port))
		names[i] = a.String()
	}
	c.Why = fmt.Sprintf("upstream DNS %s: %s", strings.Join(names, ", "), why)
	return c
}

// servers reads the nameserver lines of a resolv.conf, as glibc does: the
// keyword at the start of a line, the address after it, the first three count.
func servers(file []byte, without []netip.Addr) []netip.Addr {
	if len(file) > maxFile {
		file = file[:maxFile]
	}
	var found []netip.Addr
	for line := range strings.Lines(string(file)) {
		if !strings.HasPrefix(line, "nameserver") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		if err != nil {
			continue
		}
		a = a.Unmap()
		if a.IsUnspecified() { // 0.0.0.0 means this machine there
			a = machine
		}
		if !plainZone(a.Zone()) || a.IsMulticast() || slices.Contains(without, a.WithZone("")) || slices.Contains(found, a) {
			continue
		}
		if found = append(found, a); len(found) == maxServers {
			break
		}
	}
	return found
}

// plainZone says whether a zone may be an interface's name or number that is
// safe to print.
func plainZone(zone string) bool {
	for _, c := range []byte(zone) {
		if c <= ' ' || c >= 0x7f || c == '/' {
			return false
		}
	}
	return len(zone) < 16 // IFNAMSIZ
}
