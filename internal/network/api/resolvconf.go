package api

import (
	"bytes"
	"fmt"
	"strings"
)

// ResolvConf is the text of a container's /etc/resolv.conf (resolv.conf(5)): the
// lease's name servers, its search domain, EDNS. What is no plain address or
// domain name is left out.
func ResolvConf(l Lease) []byte {
	var b bytes.Buffer
	b.WriteString("# Written by hutch: names are answered by the container's router.\n")
	n := 0
	for _, a := range l.DNS {
		if n < 3 && a.IsValid() && a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast() {
			fmt.Fprintf(&b, "nameserver %s\n", a.Unmap())
			n++
		}
	}
	if isDomain(l.Search) {
		fmt.Fprintf(&b, "search %s\n", l.Search)
	}
	b.WriteString("options edns0\n")
	return b.Bytes()
}

// Hosts is the text of a container's /etc/hosts (hosts(5)): itself by the given
// name, which must be one label, and localhost.
func Hosts(l Lease, name string) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	if !isDomain(name) || strings.Contains(name, ".") {
		return b.Bytes()
	}
	names := name
	if isDomain(l.Search) {
		names = name + "." + l.Search + " " + name
	}
	if a := l.Address4.Addr(); a.IsValid() {
		fmt.Fprintf(&b, "%s\t%s\n", a, names)
	} else { // as Debian does for a machine without an address of its own
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", names)
	}
	if a := l.Address6.Addr(); a.IsValid() {
		fmt.Fprintf(&b, "%s\t%s\n", a.WithZone(""), names)
	}
	return b.Bytes()
}

// isDomain says whether s is a host or domain name of RFC 1123, section 2.1.
func isDomain(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}
