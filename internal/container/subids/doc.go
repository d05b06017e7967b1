// Package subids changes subuid(5) and subgid(5) so that root has ids for
// containers, under the lock that shadow's own programs take, and takes back
// what it added.
//
// Which range, and what a container makes of it, is idmap's.
package subids
