package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Load reads and parses a file that belongs to owner or to root, can be written
// by nobody else, and is no symbolic link. A file that is not there is an error
// that is [os.ErrNotExist].
func Load(path string, kind Kind, owner uint32) (Layer, error) {
	data, err := ReadFile(path, owner)
	if err != nil {
		return Layer{}, err
	}
	return Parse(path, kind, data)
}

// LoadOptional is Load, but a file that is not there says nothing.
func LoadOptional(path string, kind Kind, owner uint32) (Layer, error) {
	l, err := Load(path, kind, owner)
	if errors.Is(err, os.ErrNotExist) {
		return Layer{}, nil
	}
	return l, err
}

// ReadFile returns the bytes of a configuration that may be trusted, as Load
// demands it.
func ReadFile(path string, owner uint32) ([]byte, error) {
	// Without O_NONBLOCK a pipe of that name would hold us up.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, &Error{File: path, Err: errors.New("a symbolic link; put the file itself there")}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, &Error{File: path, Err: errors.New("not a regular file; remove it")}
	case st.Uid != owner && st.Uid != 0:
		return nil, &Error{File: path, Err: fmt.Errorf("belongs to user %d, who could change what is granted; run: chown %d %s", st.Uid, owner, quote(path))}
	case st.Mode&0o022 != 0:
		return nil, &Error{File: path, Err: fmt.Errorf("others may write to it (mode %04o); run: chmod go-w %s", st.Mode&0o7777, quote(path))}
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, &Error{File: path, Err: fmt.Errorf("too large for a configuration; at most %d bytes are read", MaxSize)}
	}
	return data, nil
}
