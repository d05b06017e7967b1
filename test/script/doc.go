// Package script holds hutch's stories: what a person types, and what comes of it,
// for every verb, with the real programs on a simulated workstation.
package script
