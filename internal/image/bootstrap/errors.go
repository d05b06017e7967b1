package bootstrap

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A Kind of failure that a person can do something about.
type Kind string

const (
	NoProgram      Kind = "mmdebstrap is missing"
	NoKeyring      Kind = "keyring is missing"
	NoNamespaces   Kind = "user namespaces are not available"
	UnknownRelease Kind = "unknown release"
	UnknownPackage Kind = "unknown package"
	Unreachable    Kind = "mirror can not be reached"
	BadSignature   Kind = "signature can not be verified"
	Expired        Kind = "package list is too old"
	DiskFull       Kind = "disk is full"
	Failed         Kind = "mmdebstrap failed"
)

// An Error is a failure with its kind, what was said about it, and a remedy.
type Error struct {
	Kind   Kind
	Detail string // of apt or the system, made printable
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s; %s", e.Kind, e.Detail, e.Remedy())
}

// Remedy says what to do.
func (e *Error) Remedy() string {
	switch e.Kind {
	case NoProgram:
		return "install it with 'apt install mmdebstrap'"
	case NoKeyring:
		return "install it with 'apt install debian-archive-keyring', or name another in the configuration"
	case NoNamespaces:
		return "see 'hutch doctor'"
	case UnknownRelease:
		return "check the name of the release; the mirror does not have it"
	case UnknownPackage:
		return "check the names of the packages"
	case Unreachable:
		return "check the network, or set another mirror"
	case BadSignature:
		return "upgrade the package debian-archive-keyring; if that does not help, do not trust this mirror"
	case Expired:
		return "check the clock of this machine, or set another mirror"
	case DiskFull:
		return "free about 1 GB on the file system of hutch's images ('hutch image prune')"
	}
	return "run it again with --debug to see all of it"
}

// signs are words in the output of apt and mmdebstrap that tell the kind of a
// failure, the weightiest first: a full disk makes downloads fail, too.
var signs = []struct {
	words string
	kind  Kind
}{
	{"No space left on device", DiskFull},
	{"You don't have enough free space", DiskFull},
	{"NO_PUBKEY", BadSignature},
	{"EXPKEYSIG", BadSignature},
	{"BADSIG", BadSignature},
	{"signatures couldn't be verified", BadSignature},
	{"signatures were invalid", BadSignature},
	{"is not signed", BadSignature},
	{"Clearsigned file isn't valid", BadSignature},
	{"Release file for", Expired}, // … is expired, … is not valid yet
	{"404  Not Found", UnknownRelease},
	{"does not have a Release file", UnknownRelease},
	{"Unable to locate package", UnknownPackage},
	{"has no installation candidate", UnknownPackage},
	{"Temporary failure resolving", Unreachable},
	{"Could not resolve", Unreachable},
	{"Could not connect", Unreachable},
	{"Unable to connect", Unreachable},
	{"Connection refused", Unreachable},
	{"Connection failed", Unreachable},
	{"Connection timed out", Unreachable},
	{"Failed to fetch", Unreachable},
	{"Some index files failed to download", Unreachable},
}

// classify turns what mmdebstrap said before it failed into an Error.
func classify(output []string, exit error) error {
	for _, sign := range signs {
		for _, line := range output {
			if strings.Contains(line, sign.words) {
				return &Error{sign.kind, printable(line)}
			}
		}
	}
	for i := len(output) - 1; i >= 0; i-- {
		if strings.HasPrefix(output[i], "E: ") || strings.HasPrefix(output[i], "dpkg: error") {
			return &Error{Failed, printable(output[i])}
		}
	}
	return &Error{Failed, exit.Error()}
}

// diskFull recognizes a disk or quota that ran full in hutch's own part of the
// work.
func diskFull(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &Error{DiskFull, printable(err.Error())}
	}
	return nil
}

// namespaceError explains why the namespaces could not be had.
func namespaceError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		return &Error{NoNamespaces, printable(err.Error())}
	}
	return err
}

// printable makes a line that others wrote fit for a terminal.
func printable(line string) string {
	line = strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(line, "E: "), "W: "))
	quoted := fmt.Sprintf("%.500q", line)
	if quoted == `"`+line+`"` {
		return line
	}
	return quoted
}
