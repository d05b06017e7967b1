// Package network says what the network of containers should be: subnets,
// addresses, what lies outside, ports and their policies, as values. Everything
// here is pure.
//
// How it is made of links is in bridge, of rules in firewall; what the host has
// is read by host; who may ask for it, and what lasts, is in netd. The wire types
// are in api, the only one of these rooms that the rest of hutch imports.
package network
