// Package agent is what hutch runs inside a container: the resident agent that
// starts commands without the cost of entering the container anew, and the tiny
// init of containers that have none.
//
// It runs under the container's full confinement and holds nothing worth
// stealing: whoever is root inside may stop, trace or replace it and gains
// nothing by it. It reads only the container's own files. The messages are those
// of package control; how the agent gets inside is package runtime's.
package agent
