package grant

import (
	"fmt"
	"path/filepath"
	"strconv"
)

// Facts that the answer rests on.
type Facts struct {
	Home        string // the person's
	UID         uint32 // the person's
	HomeAllowed bool   // the person said that the whole home may be lent
	Own         []string
}

// CheckSource says why a folder, file or socket of the host can not be lent. The
// path is absolute and without links.
func CheckSource(source string, f Facts) error {
	refuse := func(why string) error { return fmt.Errorf("mount %s: %s", source, why) }
	if source == "/" {
		return refuse("it is the whole machine; lend the folders that are needed")
	}
	user := "/run/user/" + strconv.FormatUint(uint64(f.UID), 10)
	for _, own := range f.Own {
		if touches(source, own) {
			return refuse("hutch's own files of other containers are in it")
		}
	}
	for _, row := range []struct{ path, why string }{
		{"/proc", "the host's processes are in it; the container has a /proc of its own"},
		{"/sys", "the host's devices are in it; the container has a /sys of its own"},
		{"/dev", "a device is lent by a grant of its own, not by a mount"},
		{"/tmp/.X11-unix", "it leads to the X server past every check; display = \"untrusted\" lends the screen"},
		{user + "/pulse", "whoever has this socket can run programs as you and hear the microphone; sound is lent by a grant of its own"},
		{user + "/pipewire-0", "whoever has this socket can hear the microphone; sound is lent by a grant of its own"},
		{user, "your session's own sockets are in it, each of them a way out"},
		{"/run/docker.sock", "whoever has this socket is root on the host"},
		{"/run/podman", "whoever has this socket can run programs on the host"},
		{"/run/containerd", "whoever has this socket is root on the host"},
		{"/run/dbus", "the system's services listen on this bus, and some do what it says"},
		{"/run/systemd", "the host's own services are managed through it"},
	} {
		if touches(source, row.path) {
			return refuse(row.why)
		}
	}
	if f.Home != "" && !f.HomeAllowed && contains(source, f.Home) {
		return refuse("it is your whole home, keys and passwords too; lend folders of it, or say --yes")
	}
	return nil
}

// touches says whether lending a path would lend something of place: one of them
// is in the other.
func touches(path, place string) bool { return contains(path, place) || contains(place, path) }

func contains(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}
