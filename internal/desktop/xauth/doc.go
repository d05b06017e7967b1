// Package xauth reads and writes the files in which X programs keep the cookies
// of their servers (.Xauthority), and chooses the one that fits a connection.
//
// It touches no file and no socket: which file is read, and with whose rights, is
// decided next door in desktop and done in desktop/display.
package xauth
