// Package idmap decides which user and group ids of the host a container's ids
// are: it reads subuid(5) and subgid(5), picks ranges that belong to nobody else,
// and builds the mappings of each layout. Everything here is pure.
//
// Writing the files under their lock is the workspace's, handing mappings to the
// kernel is the runtime's.
package idmap
