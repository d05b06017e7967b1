package doctor

import "errors"

// A Status of one finding.
type Status string

const (
	Fine   Status = "fine"
	Limits Status = "limits" // something does not work that not everybody needs
	Broken Status = "broken" // containers do not work
)

// A Finding is the outcome of one check.
type Finding struct {
	Check   string `json:"check"`            // what was looked at
	Status  Status `json:"status"`           //
	Detail  string `json:"detail"`           // what was found, and why it matters
	Limits  string `json:"limits,omitempty"` // what does not work
	Mend    string `json:"mend,omitempty"`   // a command, or what to do
	Fixable bool   `json:"fixable"`          // `hutch doctor --fix` does it

	// Fix mends it; nil where it is not hutch's own to mend.
	Fix func() error `json:"-"`
}

// ExitStatus is what `hutch doctor` exits with: 1 where something is broken.
func ExitStatus(findings []Finding) int {
	for _, f := range findings {
		if f.Status == Broken {
			return 1
		}
	}
	return 0
}

// Mend runs every fix there is and returns the names of the checks that were
// mended; a failure does not keep it from the next.
func Mend(findings []Finding) (mended []string, err error) {
	var failures []error
	for _, f := range findings {
		if f.Fix == nil {
			continue
		}
		if err := f.Fix(); err != nil {
			failures = append(failures, errors.New(f.Check+": "+err.Error()))
			continue
		}
		mended = append(mended, f.Check)
	}
	return mended, errors.Join(failures...)
}
