// Package torture kills hutch's programs at random moments of a container's life,
// and cuts the power at every write, and then counts what is left. What a single
// step undoes by itself is tested beside the step; what a hostile container could
// do, in package attack.
package torture
