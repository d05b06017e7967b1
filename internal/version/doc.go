// Package version says which hutch this is: number, commit and date, written into
// the programs by the Makefile.
//
// Versions of protocols and records are not here but beside what they describe.
package version
