// Package cgroup finds and ends what a crash left in a container's cgroups,
// without libcontainer, which the command line does not link. While a container
// runs its cgroups are package runtime's.
package cgroup
