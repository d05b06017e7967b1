// Package attack tries what a hostile program in a container would: one test for
// each threat that hutch promises to stop. The tests reach the product the way the
// program would, not through its insides.
package attack
