// Package desktop says what the session that a person sits in can give to a
// container: for now, which display it has, how its server is reached and which
// file holds the person's cookie.
//
// The decision is pure; Gather, which collects the facts for it, only looks. What
// is done with a display stands in the rooms below: xauth knows the files of
// cookies, x11 the protocol, display stands between a container and the server.
package desktop
