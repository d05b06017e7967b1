// Package container says what a container is: its name, its record, its states
// and what is wanted of it. Everything here is pure; how it is stored, started
// and talked to is in the rooms below it.
package container
