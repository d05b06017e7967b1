package sys

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sunPathMax is the longest socket path the kernel takes, without the final NUL
// (unix(7)).
const sunPathMax = 107

// MaxFDs is the most descriptors one message may carry here; the kernel's own
// limit is 253 (SCM_MAX_FD).
const MaxFDs = 16

// ListenUnix listens on a socket of the given network ("unix" or "unixpacket")
// at path, whatever the path's length. The file gets the given mode before
// anyone can connect.
func ListenUnix(network, path string, mode os.FileMode) (*net.UnixListener, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	defer done()
	l, err := net.ListenUnix(network, &net.UnixAddr{Net: network, Name: short})
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // the name may be a shortened one, dead by then
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		os.Remove(path)
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	return l, nil
}

// DialUnix connects to a socket of the given network at path, whatever the
// path's length.
func DialUnix(network, path string) (*net.UnixConn, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	defer done()
	c, err := net.DialUnix(network, nil, &net.UnixAddr{Net: network, Name: short})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return c, nil
}

// shortPath names the same file within sunPathMax bytes, through a descriptor of
// its folder that stays open until done is called.
func shortPath(path string) (short string, done func(), err error) {
	if len(path) <= sunPathMax {
		return path, func() {}, nil
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { unix.Close(fd) }, nil
}

// Peer returns the credentials of the process at the other end, as they were
// when it connected (SO_PEERCRED, unix(7)).
func Peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, credErr
}

// Send writes all of data, the first part of it together with the descriptors.
// The files stay the caller's.
func Send(c *net.UnixConn, data []byte, files ...*os.File) error {
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(data, rights, nil)
	if err != nil {
		return err
	}
	for n < len(data) { // WriteMsgUnix may write short on a stream
		m, err := c.Write(data[n:])
		if err != nil {
			return err
		}
		n += m
	}
	return nil
}

// Receive reads what one receive call gives, into data, with the descriptors
// that came along. They are close-on-exec and the caller's to close. A message
// that was cut, in data or descriptors, is an error and leaves none open; the
// end of the stream is io.EOF.
func Receive(c *net.UnixConn, data []byte) (int, []*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4*MaxFDs))
	n, oobn, flags, _, err := c.ReadMsgUnix(data, oob)
	if err != nil {
		return 0, nil, err
	}
	files, err := rights(oob[:oobn])
	if err == nil && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) != 0 {
		err = errors.New("message cut: too long or too many descriptors")
	}
	if err != nil {
		CloseAll(files)
		return 0, nil, err
	}
	if n == 0 && len(data) > 0 {
		CloseAll(files)
		return 0, nil, io.EOF
	}
	return n, files, nil
}

// rights opens the descriptors of the control messages of one receive call. Go's
// net package receives with MSG_CMSG_CLOEXEC.
func rights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		if m.Header.Level != unix.SOL_SOCKET || m.Header.Type != unix.SCM_RIGHTS {
			continue
		}
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// CloseAll closes what was received and is not wanted.
func CloseAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
