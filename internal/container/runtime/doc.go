// Package runtime runs an OCI runtime spec: the adapter to libcontainer, which
// makes the namespaces and enters them.
//
// It holds the program's only re-exec. What the spec says is package spec's, when
// it runs is package supervisor's.
package runtime
