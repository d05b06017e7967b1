package desktop

import (
	"errors"
	"fmt"
	"strings"
)

// A Display is a person's screen: how its server is reached and which file holds
// the person's cookie for it.
type Display struct {
	Address       Address `json:"address"`
	Number        int     `json:"number"`
	AuthorityFile string  `json:"authority_file"` // empty: the person has no cookie
	UID           uint32  `json:"uid"`            // the person; the file is read with this uid's rights
}

// Facts is what the decision rests on.
type Facts struct {
	UID            uint32 // the person
	Display        string // DISPLAY of the caller
	Authority      string // XAUTHORITY of the caller
	WaylandDisplay string // WAYLAND_DISPLAY of the caller
	Sessions       []Session
	Sockets        []Socket
	Authorities    []AuthorityFile // the caller's $XAUTHORITY first, then by likelihood
}

// A Session is one of logind's (loginctl show-session).
type Session struct {
	ID      string
	UID     uint32
	Type    string // x11, wayland, tty …
	Class   string // user, greeter …
	Display string // :0, or empty
	Active  bool
}

// A Socket is one an X server of this machine may listen on.
type Socket struct {
	Address Address
	Number  int
	UID     uint32 // owner of the file; not known of abstract ones
}

// An AuthorityFile is a file of cookies that the person can read.
type AuthorityFile struct {
	Path    string
	Numbers []string // of the displays it has cookies for on this machine; "" stands for all
	Hosts   bool     // it has cookies for displays on other hosts
}

// ErrNoDisplay is returned where the person has no display.
var ErrNoDisplay = errors.New("no display found; run hutch in a desktop session, set DISPLAY, or use display = \"none\"")

// Decide finds the person's display. The trace says in one line what was decided
// and why; it holds no secret.
func Decide(f Facts) (d Display, trace string, err error) {
	if f.Display != "" {
		name, err := ParseName(f.Display)
		if err != nil {
			return Display{}, fmt.Sprintf("display: none: %v", err), err
		}
		return f.reach(name, fmt.Sprintf("DISPLAY=%s of the caller", f.Display))
	}
	if s, ok := f.session(); ok {
		name, err := ParseName(s.Display)
		if err == nil {
			return f.reach(name, fmt.Sprintf("display %s of login session %q", s.Display, s.ID))
		}
	}
	// Sockets that belong to the person: Xwayland's, or a server without root. Then
	// servers run by root which the person has a cookie for.
	for _, owner := range []uint32{f.UID, 0} {
		for _, s := range f.Sockets {
			if s.Address.Network != Unix || s.UID != owner {
				continue
			}
			if _, has := f.authority(s.Number, false); has || owner == f.UID && owner != 0 {
				return f.reach(Name{Local: true, Number: s.Number}, fmt.Sprintf("no DISPLAY, no session; socket of uid %d", owner))
			}
		}
	}
	for _, s := range f.Sockets {
		if _, has := f.authority(s.Number, false); has && s.Address.Network == Abstract {
			return f.reach(Name{Local: true, Number: s.Number}, "no DISPLAY, no session; the person has a cookie for it")
		}
	}
	hint := ""
	if f.WaylandDisplay != "" {
		hint = "; the session is Wayland's and has no Xwayland"
	}
	return Display{}, fmt.Sprintf("display: none for uid %d: no DISPLAY, %d login sessions, %d sockets, %d authority files%s",
		f.UID, len(f.Sessions), len(f.Sockets), len(f.Authorities), hint), ErrNoDisplay
}

// session returns the person's graphical session, an active one before others.
func (f Facts) session() (Session, bool) {
	var found Session
	var ok bool
	for _, s := range f.Sessions {
		if s.UID != f.UID || s.Class != "user" || s.Display == "" || s.Type != "x11" && s.Type != "wayland" {
			continue
		}
		if !ok || s.Active && !found.Active {
			found, ok = s, true
		}
	}
	return found, ok
}

// reach turns a display's name into an address that exists.
func (f Facts) reach(name Name, why string) (Display, string, error) {
	d := Display{Number: name.Number, UID: f.UID}
	switch {
	case name.Host != "":
		d.Address = name.tcpAddress()
	case name.Path != "":
		d.Address = Address{Unix, name.Path}
	default:
		// The file first: whoever comes first may take an abstract name.
		for _, network := range []string{Unix, Abstract} {
			for _, s := range f.Sockets {
				if d.Address.Network == "" && s.Number == name.Number && s.Address.Network == network {
					d.Address = s.Address
				}
			}
		}
		if d.Address.Network == "" {
			err := fmt.Errorf("display :%d: no X server listens there; is it running? DISPLAY may be of an earlier session", name.Number)
			return Display{}, fmt.Sprintf("display: none: %s, but %v", why, err), err
		}
	}
	cookies := "no cookie found"
	if path, ok := f.authority(name.Number, name.Host != ""); ok {
		d.AuthorityFile = path
		cookies = fmt.Sprintf("cookie in %q", path)
	}
	return d, fmt.Sprintf("display: %s at %s: %s; %s", number(d), d.Address, why, cookies), nil
}

func number(d Display) string { return fmt.Sprintf(":%d", d.Number) }

// authority returns the first file with a cookie for a display of this machine or
// of another host. A display of this machine reached over TCP, as ssh forwards
// them, has its cookies among those of this machine.
func (f Facts) authority(number int, tcp bool) (string, bool) {
	for _, a := range f.Authorities {
		for _, n := range a.Numbers {
			if n == "" || n == fmt.Sprint(number) {
				return a.Path, true
			}
		}
		if tcp && a.Hosts {
			return a.Path, true
		}
	}
	return "", false
}

// parseSessions reads what `loginctl show-session` prints: blocks of KEY=VALUE
// lines with an empty line between.
func parseSessions(text string) []Session {
	var sessions []Session
	for block := range strings.SplitSeq(text, "\n\n") {
		s := Session{}
		owned := false
		for line := range strings.SplitSeq(block, "\n") {
			key, value, _ := strings.Cut(line, "=")
			switch key {
			case "Id":
				s.ID = value
			case "User":
				var uid uint32
				if _, err := fmt.Sscanf(value, "%d", &uid); err == nil {
					s.UID, owned = uid, true
				}
			case "Type":
				s.Type = value
			case "Class":
				s.Class = value
			case "Display":
				s.Display = value
			case "Active":
				s.Active = value == "yes"
			}
		}
		if owned && s.ID != "" && len(sessions) < maxSessions {
			sessions = append(sessions, s)
		}
	}
	return sessions
}

// parseUnixTable reads /proc/net/unix: the abstract sockets that X servers of
// this network namespace listen on.
func parseUnixTable(text string) []Socket {
	var sockets []Socket
	for line := range strings.SplitSeq(text, "\n") {
		fields := strings.Fields(line)
		// Num RefCount Protocol Flags Type St Inode Path; __SO_ACCEPTCON and SOCK_STREAM.
		if len(fields) != 8 || fields[3] != "00010000" || fields[4] != "0001" {
			continue
		}
		tail, ok := strings.CutPrefix(fields[7], "@"+SocketDir+"/X")
		if n, digits := parseDigits(tail); ok && digits && n <= maxNumber && len(sockets) < maxSockets {
			sockets = append(sockets, Socket{Address: Address{Abstract, SocketPath(n)}, Number: n})
		}
	}
	return sockets
}

const (
	maxSessions = 256
	maxSockets  = 1024
)
