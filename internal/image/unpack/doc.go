// Package unpack puts a tar archive that nobody vouches for into a folder, and
// nothing outside of it.
//
// Where archives come from and what becomes of the tree is the business of the
// rooms next door (bootstrap, the store in image). Compression is, too: the
// stream that comes in is a plain one.
package unpack
