// Package sys wraps the system calls that hutch needs and Go's standard library
// lacks: descriptors over sockets, peer credentials, process descriptors, mounts
// by descriptor, opening beneath a root, namespaces.
//
// Here stands how the kernel is asked; what to ask for, and in which order, is
// the callers' business.
package sys
