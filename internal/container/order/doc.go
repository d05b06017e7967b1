// Package order is what the command line tells a supervisor to run, and what it
// hears back. It must stay light: the command line links it, and not the runtime.
package order
