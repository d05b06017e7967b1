// Package testenv gives tests what they need of the machine, real and of their
// own: root, tools, a workstation simulated in network namespaces, an X server.
//
// It is imported by tests alone. What cannot be had is a skip with a reason,
// which `make test` counts and names.
package testenv
