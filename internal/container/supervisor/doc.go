// Package supervisor is the one host process that belongs to a running
// container: it puts the container together, holds its console and its brokers,
// answers on its control socket, and takes everything away when it ends.
//
// A supervisor that dies leaves its container running; Adopt takes it up again.
// What it needs of the network and desktop wings it declares here as small
// interfaces; package supervise composes them.
//
//	order ─► folders ─► display ─► root filesystem ─► namespaces ─► network ─► init ─► agent ─► ready
//	  each step pushes its way back; the end of the container is the same stack unwound
package supervisor
