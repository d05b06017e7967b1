// Command bench measures hutch against LXC, in turn, in one run: the same root
// filesystem, the same machine, the same minute. It prints the median, the 95th
// percentile and the ratio, says which of the promised ratios is kept, and with
// -write puts the table into docs/performance.md.
//
// Everything happens in a mount and a network namespace of its own; containers
// lie below a folder of its own and go when it ends.
//
// world.go makes the place, hutch.go and lxc.go are the two sides, measure.go
// holds the arithmetic.
package main
