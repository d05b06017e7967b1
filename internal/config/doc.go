// Package config reads what a person wants of containers: strict TOML files and
// command line options, laid over each other, down to one value for every key
// and the file it came from. It also edits those files without disturbing the
// person's comments.
//
// Here stands what a key may say. Whether the wish is granted (a folder that
// must not be lent, a display that is not there) is decided by the wings.
package config
