package agent

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// A user inside the container.
type user struct {
	name   string
	uid    uint32
	gid    uint32
	groups []uint32
	home   string
	shell  string
}

// maxAccounts bounds what is read of /etc/passwd and /etc/group, in bytes: they
// are the container's and may be anything.
const maxAccounts = 4 << 20

// lookup finds a user by "name", "uid", "name:group" or "uid:gid" in the
// container's own files, never through NSS modules, which would be the
// container's code (CVE-2019-14271). A number need not be listed.
func lookup(spec string, passwd, group []byte) (user, error) {
	name, groupSpec, hasGroup := strings.Cut(spec, ":")
	u, err := findUser(name, passwd)
	if err != nil {
		return user{}, err
	}
	if hasGroup {
		gid, err := findGroup(groupSpec, group)
		if err != nil {
			return user{}, err
		}
		u.gid, u.groups = gid, nil
		return u, nil
	}
	u.groups = memberships(u.name, u.gid, group)
	return u, nil
}

func findUser(name string, passwd []byte) (user, error) {
	number, isNumber := parseID(name)
	for line := range bytes.Lines(passwd) {
		// name:password:uid:gid:gecos:home:shell (passwd(5))
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) != 7 {
			continue
		}
		uid, ok := parseID(f[2])
		gid, ok2 := parseID(f[3])
		if !ok || !ok2 {
			continue
		}
		if f[0] == name || isNumber && uid == number {
			return user{name: f[0], uid: uid, gid: gid, home: f[5], shell: f[6]}, nil
		}
	}
	if isNumber {
		return user{name: name, uid: number, gid: number, home: "/"}, nil
	}
	return user{}, fmt.Errorf("no user %q in the container's /etc/passwd", name)
}

func findGroup(name string, group []byte) (uint32, error) {
	if gid, is := parseID(name); is {
		return gid, nil
	}
	for line := range bytes.Lines(group) {
		// name:password:gid:members (group(5))
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) == 4 && f[0] == name {
			if gid, ok := parseID(f[2]); ok {
				return gid, nil
			}
		}
	}
	return 0, fmt.Errorf("no group %q in the container's /etc/group", name)
}

// maxGroups is the kernel's NGROUPS_MAX.
const maxGroups = 65536

func memberships(name string, primary uint32, group []byte) []uint32 {
	groups := []uint32{primary}
	for line := range bytes.Lines(group) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), ":")
		if len(f) != 4 || len(groups) == maxGroups {
			continue
		}
		gid, ok := parseID(f[2])
		if !ok || gid == primary {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if member == name {
				groups = append(groups, gid)
				break
			}
		}
	}
	return groups
}

func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1 // -1 means "no change" to setuid(2)
}

// readAccounts reads one of the account files; a missing one is empty.
func readAccounts(path string) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|oNonblock, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(bufio.NewReader(f), maxAccounts))
	if err != nil {
		return nil
	}
	return data
}
