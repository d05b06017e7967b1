// Package api is all that the rest of hutch knows of the network wing: the wire
// types of hutchd's socket and the client for it.
//
// One request and one answer are one packet each, JSON, on a SOCK_SEQPACKET
// socket; a network namespace travels beside its request as a descriptor. No
// request carries a path, a command or a process id, so being allowed to ask is
// not being root. What the answers are made of belongs to package netd.
package api
