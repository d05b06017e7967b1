package control

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// CheckPty says whether a descriptor that came from inside is the master of a
// pty, and nothing else that reading, writing or asking would do something to.
func CheckPty(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	// Character device 5:2 (Documentation/admin-guide/devices.txt).
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(st.Rdev) != 5 || unix.Minor(st.Rdev) != 2 {
		return errors.New("what came from the container is not a pty")
	}
	return nil
}
