// Package systemd asks the host's systemd for the little that hutch's own
// programs need of it. Containers' scopes are made by the runtime's library.
package systemd
