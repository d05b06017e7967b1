package paths

import "path/filepath"

// SubIDRecord holds the line that hutch added to subuid and subgid, for the way
// back.
func (l Layout) SubIDRecord() string { return filepath.Join(l.State, "subids") }

// PasswdLock is the file that programs lock which change subuid and subgid
// (lckpwdf(3)).
func (l Layout) PasswdLock() string { return filepath.Join(filepath.Dir(l.SubUID), ".pwd.lock") }
