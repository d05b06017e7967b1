// Package x11 is the little of the X11 protocol that hutch speaks itself: the
// setup of a connection, from both sides and in both byte orders, and a client
// that asks a server for the SECURITY extension's authorizations.
//
// It reads and writes connections it is given. Finding the server is desktop's
// business, standing between a program and its server desktop/display's.
package x11
