// Package account decides how a root filesystem's own lists of users and groups
// must read for a person to exist in it, and who a name in them is.
//
// All of it is pure: contents in, contents out. Reading the files from an image
// (image.ReadFile) and writing them into a container is done elsewhere.
package account
