// Package cli is the command line: one file for each verb, from its options over a
// use case of package workspace to its output and exit status.
//
// No decision about containers is made here.
package cli
