// Package store keeps the records of containers: what lasts below the state
// folder, what is true of this run of the machine below the runtime folder, and
// the locks that let one command at a time change a container.
//
//	STATE/containers/NAME/record.json     written last by create: the commit point
//	STATE/containers/NAME/config.toml     the container's own configuration
//	STATE/containers/NAME/upper, work     package rootfs's
//	STATE/containers/NAME/console.log     package supervisor's
//	STATE/containers/.new-*               being made, or left by a crash
//	RUNTIME/containers/NAME/run-BOOT.json while it runs
//	RUNTIME/locks/NAME                    flock(2)
//
// A record is whole or absent. A folder without a record is no container; it is
// what a crash left, and Sweep removes it.
package store
