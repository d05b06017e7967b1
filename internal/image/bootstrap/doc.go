// Package bootstrap makes a root filesystem of a distribution from its packages.
// For Debian the program mmdebstrap does the work; this room gives it a mirror,
// a keyring, a list of packages and a user namespace to do it in, tells how far
// it is and why it failed, and dresses the tree to be lived in.
//
// Which image is wanted and where the tree is kept is decided next door (image);
// what a person adds to an image is installed inside a container, not here.
package bootstrap
