// Package netd is hutchd: it composes the rooms of the network into one service,
// keeps what lasts, follows the host's changes, and minds the door.
//
// Who may ask for what is decided here. The wire types are in api; links, rules,
// DHCP and DNS are in rooms of their own, and the last two come in as Services.
package netd
