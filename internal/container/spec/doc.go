// Package spec turns what is wanted of a container into an OCI runtime spec, and
// holds the one validator that looks at the final spec on every path that leads
// to a start.
//
// All of it is pure. What the spec's root filesystem is made of, and everything
// mounted in it that is not the kernel's own (folders lent, the display's socket,
// resolv.conf), is package rootfs's; the adapter that runs the spec is package
// runtime.
package spec
