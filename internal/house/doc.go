// Package house holds the rules of the house as tests: who may import whom, what
// each program may be linked with, calls that hurt somebody once, and a door sign
// on every room.
//
// The rules stand in rules_test.go, each with its reason; .golangci.yml is
// written from them (go test ./internal/house -update) and tested to be fresh.
package house
