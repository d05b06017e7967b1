// Package attach is the caller's side of a command in a container: which way to
// the agent, what of the caller's own descriptors is handed inside, the terminal,
// the signals, the exit status.
//
// Everything that comes back comes from inside and is hostile. The messages are
// package control's; which container, and whether it runs, is the workspace's.
package attach
