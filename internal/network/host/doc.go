// Package host reads what the host's network stack has, says when that changes,
// and turns on, interface by interface, the forwarding that containers need, so
// that it can be put back.
//
// What follows from it is decided in package network. Links are made in bridge,
// rules in firewall.
package host
