// Package doctor finds out what this machine can do for containers and says it:
// fine, limits something, or broken, why, and the command that mends it.
//
// Facts are gathered by a thin layer; every judgement is a pure function of them.
// It stands beside workspace: it may ask pure rooms of the wings (idmap), while
// what only a running part can tell (the X server, hutchd, leftovers) is asked of
// functions that the caller hands in. How findings are shown is the CLI's.
package doctor
