// Package attack holds tests that attack hutch as a hostile container, image or
// server would, one or more for each threat that hutch promises to meet. They run
// against real parts, in namespaces and folders of their own; what a part does
// for the well-meaning is tested beside the part.
package attack
