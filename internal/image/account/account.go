package account

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Person is the user who shall exist inside; the fields are those of
// passwd(5).
type Person struct {
	Name  string
	UID   uint32
	GID   uint32
	Home  string
	Shell string
}

// Files are the contents of /etc/passwd, group, shadow and gshadow. A nil one is
// not there, and stays so.
type Files struct {
	Passwd, Group, Shadow, Gshadow []byte
}

// Groups are those that a person joins where they are there: pictures, sound,
// and the right to become root inside.
var Groups = []string{"video", "audio", "sudo"}

// firstOrdinary is the first uid and gid of people; below are those of the
// system's own services (Debian policy, section 9.2.2).
const firstOrdinary = 1000

// maxFile bounds each file, in bytes.
const maxFile = 1 << 20

// maxName is the longest name of a user or group (useradd(8)).
const maxName = 32

// Check says why a person can not be written into passwd(5): each value becomes
// a field of a line that programs trust.
func Check(p Person) error {
	switch {
	case p.Name == "" || len(p.Name) > maxName:
		return fmt.Errorf("user name %.40q: 1 to %d characters are possible", p.Name, maxName)
	case !isName(p.Name):
		return fmt.Errorf("user name %.40q: letters, digits, _, ., @ and - are possible, the first a letter or _", p.Name)
	case p.UID == 1<<32-1 || p.GID == 1<<32-1:
		return fmt.Errorf("user %s: id 4294967295 means no id at all", p.Name)
	}
	for what, value := range map[string]string{"home": p.Home, "shell": p.Shell} {
		if !path.IsAbs(value) || path.Clean(value) != value || len(value) > 1024 {
			return fmt.Errorf("user %s: %s %.80q is not a clean absolute path", p.Name, what, value)
		}
		if strings.IndexFunc(value, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f || r == 0xfffd }) >= 0 {
			return fmt.Errorf("user %s: %s %.80q holds a character that passwd(5) can not", p.Name, what, value)
		}
	}
	return nil
}

func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		inner := c >= '0' && c <= '9' || c == '.' || c == '@' || c == '-'
		if !letter && !(inner && i > 0) {
			return false
		}
	}
	return s != ""
}

// Add returns the files with the person in them, with a group of the person's
// gid, and a member of those of the given groups that are there. What the files
// hold beside stays as it is, to the byte; what is not understood stays, too.
// Done twice it changes nothing more.
//
// The person's uid and name are the host's and can not give way. An ordinary user
// of the image that has one of them (uid 1000 and up) is replaced; a user of the
// system's own services is not, and is an error. A group of the person's gid is
// used under whatever name it has; where the person's name is another group's,
// the new one is called NAME_GID.
//
// A person with uid 0 is root, who is there already: nothing changes.
func Add(f Files, p Person, groups []string) (Files, error) {
	if err := Check(p); err != nil {
		return Files{}, err
	}
	for _, data := range [][]byte{f.Passwd, f.Group, f.Shadow, f.Gshadow} {
		if len(data) > maxFile {
			return Files{}, fmt.Errorf("the image's list of users or groups has more than %d bytes", maxFile)
		}
	}
	if p.UID == 0 {
		return f, nil
	}
	passwd, shadow := parse(f.Passwd), parse(f.Shadow)
	group, gshadow := parse(f.Group), parse(f.Gshadow)

	uid, gid := strconv.FormatUint(uint64(p.UID), 10), strconv.FormatUint(uint64(p.GID), 10)
	for _, l := range passwd.lines {
		other, is := number(l.field(2))
		if !is || l.field(0) == p.Name && other == p.UID || l.field(0) != p.Name && other != p.UID {
			continue
		}
		if other < firstOrdinary {
			return Files{}, fmt.Errorf("user %s (%d) of the host can not exist in the image: %.40q (%d) is one of its system users; use ids = \"private\"",
				p.Name, p.UID, l.field(0), other)
		}
		shadow.remove(l.field(0))
	}
	password := "x"
	if f.Shadow == nil {
		password = "*"
	}
	line := strings.Join([]string{p.Name, password, uid, gid, "", p.Home, p.Shell}, ":")
	passwd.put(line, func(l entry) bool {
		other, is := number(l.field(2))
		return l.field(0) == p.Name || is && other == p.UID
	})
	if f.Shadow != nil && !shadow.has(p.Name) {
		// No password opens the account, and it never expires (shadow(5)).
		shadow.put(p.Name+":*::0:99999:7:::", func(l entry) bool { return l.field(0) == p.Name })
	}

	if !slices.ContainsFunc(group.lines, func(l entry) bool { other, is := number(l.field(2)); return is && other == p.GID && len(l) >= 4 }) {
		name := p.Name
		if group.has(name) {
			name = name[:min(len(name), maxName-11)] + "_" + gid
		}
		group.put(name+":x:"+gid+":", func(l entry) bool { return l.field(0) == name })
		if f.Gshadow != nil {
			gshadow.put(name+":!::", func(l entry) bool { return l.field(0) == name })
		}
	}
	for _, name := range groups {
		group.join(name, p.Name)
		gshadow.join(name, p.Name)
	}
	return Files{passwd.bytes(f.Passwd), group.bytes(f.Group), shadow.bytes(f.Shadow), gshadow.bytes(f.Gshadow)}, nil
}

// Sudoers returns the content of a file in /etc/sudoers.d, of mode 0440, that
// lets the person become anyone without a password: inside, where that gives no
// right outside. The person goes by number, as a name would have to be quoted
// (sudoers(5), "User List").
func Sudoers(p Person) []byte {
	return fmt.Appendf(nil, "#%d ALL=(ALL:ALL) NOPASSWD: ALL\n", p.UID)
}

// Shell returns the shell that a person has inside: the host's where the image
// has it, else one that it has.
func Shell(wanted string, exists func(path string) bool) string {
	for _, s := range []string{wanted, "/bin/bash"} {
		if s != "" && exists(s) {
			return s
		}
	}
	return "/bin/sh"
}

// An entry is a line of one of the files, split into its fields.
type entry []string

func (e entry) field(i int) string {
	if i < len(e) {
		return e[i]
	}
	return ""
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && len(s) <= 10
}

type table struct{ lines []entry }

func parse(data []byte) *table {
	t := &table{}
	for line := range bytes.Lines(data) {
		t.lines = append(t.lines, strings.Split(strings.TrimSuffix(string(line), "\n"), ":"))
	}
	return t
}

// bytes writes the table; a file that was not there stays so.
func (t *table) bytes(before []byte) []byte {
	if before == nil && len(t.lines) == 0 {
		return nil
	}
	var out bytes.Buffer
	for _, l := range t.lines {
		out.WriteString(strings.Join(l, ":"))
		out.WriteByte('\n')
	}
	return out.Bytes()
}

func (t *table) has(name string) bool {
	return slices.ContainsFunc(t.lines, func(l entry) bool { return l.field(0) == name && len(l) > 1 })
}

func (t *table) remove(name string) {
	t.lines = slices.DeleteFunc(t.lines, func(l entry) bool { return l.field(0) == name && len(l) > 1 })
}

// put writes a line in the place of the first that matches, and takes all others
// that match away; where none matches it is the last.
func (t *table) put(line string, matches func(entry) bool) {
	var lines []entry
	placed := false
	for _, l := range t.lines {
		if len(l) < 2 || !matches(l) {
			lines = append(lines, l)
			continue
		}
		if !placed {
			lines = append(lines, strings.Split(line, ":"))
			placed = true
		}
	}
	if !placed {
		lines = append(lines, strings.Split(line, ":"))
	}
	t.lines = lines
}

// join makes a user a member of a group that is there. The members are the last
// of four fields in group(5) and gshadow(5) alike.
func (t *table) join(group, user string) {
	for _, l := range t.lines {
		if l.field(0) != group || len(l) != 4 {
			continue
		}
		members := strings.Split(l[3], ",")
		if l[3] == "" {
			members = nil
		}
		if !slices.Contains(members, user) {
			l[3] = strings.Join(append(members, user), ",")
		}
	}
}
