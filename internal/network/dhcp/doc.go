// Package dhcp tells containers over the wire what their records already say:
// a DHCPv4 server (RFC 2131) and router advertisements (RFC 4861, RFC 8106).
//
// Nothing is given out here. An address belongs to a container's record, so a
// hardware address without a record gets no answer and a client's wishes (its
// host name, another address) change nothing. Who has which address is decided
// by package netd; names are package dns's. Decisions are pure (Answer,
// Router.Advertisement); Serve4 and ServeRA carry them to sockets that the caller
// made in the router's namespace.
package dhcp
