// Command alltests runs go vet, every test and every fuzz target, shows the
// output of what failed, names what was skipped and why, and ends in one line
// that counts: "N passed, N failed, N skipped".
//
// It runs what is there and knows nothing of hutch. A package that does not
// build, a test process that crashed and a test that began and never ended
// count as failed; so does a run in which nothing ran.
//
// Its exit status is 0 where nothing failed, else 1; 2 means wrong usage.
package main
