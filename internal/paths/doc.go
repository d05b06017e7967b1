// Package paths says where hutch keeps things: configuration, containers,
// images, caches, sockets and locks, for the scope that is asked for.
//
// Nothing else in the program spells a folder of hutch's own. What a file holds
// belongs to the package that writes it.
package paths
