package runtime

import (
	"slices"
	"strings"

	"github.com/moby/sys/capability"
)

// Available returns those of the capabilities that this process may hand on
// (capabilities(7), "Capability bounding set"). Only a container without a user
// namespace depends on it: in a new one all are there.
func Available(names []string) ([]string, error) {
	own, err := capability.NewPid2(0)
	if err != nil {
		return nil, err
	}
	if err := own.Load(); err != nil {
		return nil, err
	}
	var there []string
	for _, c := range capability.ListKnown() {
		name := "CAP_" + strings.ToUpper(c.String())
		if own.Get(capability.BOUNDING, c) && slices.Contains(names, name) {
			there = append(there, name)
		}
	}
	return there, nil
}
