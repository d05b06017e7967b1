// Package dns answers the containers' questions for names.
//
// Names of containers come from records alone (Records). Everything else goes to
// the servers that the host uses, whichever those are now (package resolver
// decides), except what would ask the home network through them: private reverse
// zones, .local and its like, single labels. What comes back is stripped of
// addresses that are not global, so that no name outside can point inside (DNS
// rebinding).
//
// A question is judged by classify, an upstream answer by strip; both are pure.
// Sockets to listen on and the way to dial upstream are the caller's, who
// thereby picks the network namespaces.
package dns
