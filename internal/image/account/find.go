package account

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A User is somebody a process can be run as.
type User struct {
	Name   string // "" where only the number is known
	UID    uint32
	GID    uint32
	Groups []uint32 // beside GID, sorted
	Home   string
	Shell  string
}

// Find returns the user that "NAME", "UID", "NAME:GROUP" and so on mean in the
// given files. A number that no line has is a user without a name, at home in /.
// The files are the image's and hostile; the values may be any text without a
// newline or colon.
func Find(f Files, who string) (User, error) {
	if len(f.Passwd) > maxFile || len(f.Group) > maxFile {
		return User{}, fmt.Errorf("the image's list of users or groups has more than %d bytes", maxFile)
	}
	name, group, hasGroup := strings.Cut(who, ":")
	u, err := findUser(parse(f.Passwd), name)
	if err != nil {
		return User{}, err
	}
	groups := parse(f.Group)
	if hasGroup {
		if u.GID, err = findGroup(groups, group); err != nil {
			return User{}, err
		}
	}
	if u.Name == "" {
		return u, nil
	}
	for _, l := range groups.lines {
		gid, is := number(l.field(2))
		if is && len(l) >= 4 && gid != u.GID && slices.Contains(strings.Split(l[3], ","), u.Name) {
			u.Groups = append(u.Groups, gid)
		}
	}
	slices.Sort(u.Groups)
	u.Groups = slices.Compact(u.Groups)
	if len(u.Groups) > maxGroups {
		u.Groups = u.Groups[:maxGroups]
	}
	return u, nil
}

// maxGroups is the most that a process can have (NGROUPS_MAX, limits.h).
const maxGroups = 65536

func findUser(passwd *table, name string) (User, error) {
	id, numeric := number(name)
	for _, l := range passwd.lines {
		uid, ok := number(l.field(2))
		gid, ok2 := number(l.field(3))
		if !ok || !ok2 || len(l) < 7 || l[0] == "" || uid == 1<<32-1 || gid == 1<<32-1 {
			continue
		}
		if l[0] == name || numeric && uid == id {
			return User{Name: l[0], UID: uid, GID: gid, Home: orElse(l[5], "/"), Shell: orElse(l[6], "/bin/sh")}, nil
		}
	}
	if numeric && id != 1<<32-1 {
		return User{UID: id, GID: id, Home: "/", Shell: "/bin/sh"}, nil
	}
	return User{}, fmt.Errorf("user %.80q is not in the container's /etc/passwd; name another or its number", name)
}

func findGroup(groups *table, name string) (uint32, error) {
	for _, l := range groups.lines {
		if gid, is := number(l.field(2)); is && l[0] == name && gid != 1<<32-1 {
			return gid, nil
		}
	}
	if gid, err := strconv.ParseUint(name, 10, 32); err == nil && gid != 1<<32-1 {
		return uint32(gid), nil
	}
	return 0, fmt.Errorf("group %.80q is not in the container's /etc/group; name another or its number", name)
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
