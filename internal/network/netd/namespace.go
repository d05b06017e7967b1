package netd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/sys"
)

// A namespaceID tells namespaces apart for as long as they live.
type namespaceID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

func identify(f *os.File) (namespaceID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return namespaceID{}, os.NewSyscallError("fstat", err)
	}
	return namespaceID{st.Dev, st.Ino}, nil
}

func identifyPath(path string) (namespaceID, error) {
	f, err := os.Open(path)
	if err != nil {
		return namespaceID{}, err
	}
	defer f.Close()
	return identify(f)
}

// Refusals of a descriptor.
var (
	errNoNetns    = errors.New("the descriptor is no network namespace")
	errOwnNetns   = errors.New("the network namespace is the host's or the router's")
	errHostsNetns = errors.New("the network namespace belongs to the host's user namespace, not to a container's")
	errOthers     = errors.New("the network namespace belongs to another user")
)

// checkNamespace says whether a caller may have a port in the namespace. It must
// be a network namespace, neither hutchd's own nor the router's; one of hutchd's
// own user namespace is root's to give (a privileged container), any other one that
// of a user namespace that the caller has made (ioctl_ns(2)).
func checkNamespace(f, router *os.File, uid uint32) (namespaceID, error) {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return namespaceID{}, errNoNetns
	}
	id, err := identify(f)
	if err != nil {
		return id, err
	}
	own, err := identifyPath("/proc/thread-self/ns/net") // the first thread's may be another
	if err != nil {
		return id, err
	}
	routers, err := identify(router)
	if err != nil {
		return id, err
	}
	if id == own || id == routers {
		return id, errOwnNetns
	}
	fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return id, fmt.Errorf("find the owner of the network namespace: %w", err)
	}
	owner := os.NewFile(uintptr(fd), "user namespace")
	defer owner.Close()
	ownerID, err := identify(owner)
	if err != nil {
		return id, err
	}
	ownUser, err := identifyPath("/proc/self/ns/user")
	if err != nil {
		return id, err
	}
	if uid == 0 {
		return id, nil
	}
	if ownerID == ownUser {
		return id, errHostsNetns
	}
	ownerUID, err := sys.NamespaceOwner(owner)
	if err != nil {
		return id, err
	}
	if ownerUID != uid {
		return id, errOthers
	}
	return id, nil
}
