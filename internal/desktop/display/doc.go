// Package display stands between a container's programs and the person's X
// server. The container sees a socket and a cookie of its own; the server sees
// clients that it does not trust (X's SECURITY extension); neither the server's
// own socket nor the person's cookie is ever within the container's reach.
//
// Which display the person has is decided next door in desktop, the protocol's
// pieces are in desktop/x11. What an X client does once it is let in is passed on
// unread.
package display
