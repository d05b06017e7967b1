// Package install tests what the Makefile installs, and that it takes it away
// again.
package install
