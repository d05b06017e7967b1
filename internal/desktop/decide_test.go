package desktop

import (
	"errors"
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	good := map[string]Name{
		":0":                    {Local: true},
		":0.1":                  {Local: true, Screen: 1},
		":59535":                {Local: true, Number: 59535},
		"unix:3":                {Local: true, Number: 3},
		"unix/myhost:3.0":       {Local: true, Number: 3},
		"localhost:10.0":        {Host: "localhost", Number: 10},
		"host.example:10":       {Host: "host.example", Number: 10},
		"tcp/host:0":            {Host: "host"},
		"tcp/:0":                {Host: "localhost"},
		"127.0.0.1:10":          {Host: "127.0.0.1", Number: 10},
		"[::1]:10.0":            {Host: "::1", Number: 10},
		"fe80::1%eth0:2":        {Host: "fe80::1%eth0", Number: 2},
		"/tmp/launch/x.org:0":   {Path: "/tmp/launch/x.org:0"},
		"/tmp/launch/x.org:0.2": {Path: "/tmp/launch/x.org:0", Screen: 2},
		"unix:/run/x/X7":        {Path: "/run/x/X7"},
		"/run/a:1/X7":           {Path: "/run/a:1/X7"},
		"/run/../tmp/s:4":       {Path: "/tmp/s:4", Number: 4},
	}
	for variable, want := range good {
		if got, err := ParseName(variable); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", variable, got, err, want)
		}
	}
	for _, variable := range []string{
		"", ":", "0", "host", ":-1", ":+1", ":0x1", ":59536", ":99999999999999999999", ":0.", ":0.256", ":0.-1", ":0.0.0", "host::0",
		"-host:0", "ho st:0", "host\n:0", "\x1b[31m:0", "h\xff:0", "decnet/host:0", "$(x):0", "/path:x", "a/b/c:0", "[::1:0",
		":" + strings.Repeat("0", maxVariable),
	} {
		if got, err := ParseName(variable); err == nil {
			t.Errorf("%q was taken for %+v", variable, got)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 500 {
			t.Errorf("%q: the error is not fit to print: %q", variable, err)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{":0", "unix:0", "host:10.0", "[::1]:0", "/path/of/socket:0", "tcp/h:0", "::", "/:0.0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, variable string) {
		n, err := ParseName(variable)
		if err != nil {
			return
		}
		ways := 0
		for _, is := range []bool{n.Local, n.Path != "", n.Host != ""} {
			if is {
				ways++
			}
		}
		if ways != 1 || n.Number < 0 || n.Number > maxNumber || n.Screen < 0 || n.Path != "" && n.Path[0] != '/' {
			t.Fatalf("%q was taken for %+v", variable, n)
		}
	})
}

func TestDecide(t *testing.T) {
	path := func(n int, uid uint32) Socket { return Socket{Address{Unix, SocketPath(n)}, n, uid} }
	abstract := func(n int) Socket { return Socket{Address{Abstract, SocketPath(n)}, n, 0} }
	home := AuthorityFile{Path: "/home/me/.Xauthority", Numbers: []string{"0", "10"}}
	mutter := AuthorityFile{Path: "/run/user/1000/.mutter-Xwaylandauth.A", Numbers: []string{""}}
	x0, x1 := Address{Unix, SocketPath(0)}, Address{Unix, SocketPath(1)}
	session := Session{ID: "2", UID: 1000, Type: "x11", Class: "user", Display: ":0", Active: true}
	cases := []struct {
		name  string
		facts Facts
		want  Display
		trace string // part of it
	}{
		{"DISPLAY", Facts{Display: ":0", Sockets: []Socket{path(0, 0), path(1, 0)}, Authorities: []AuthorityFile{home}},
			Display{x0, 0, home.Path, 1000}, "DISPLAY=:0 of the caller"},
		{"file before abstract name", Facts{Display: ":0.0", Sockets: []Socket{abstract(0), path(0, 0)}},
			Display{x0, 0, "", 1000}, "no cookie"},
		{"SDDM: abstract only", Facts{Display: ":0", Sockets: []Socket{path(1, 0), abstract(0)}, Authorities: []AuthorityFile{home}},
			Display{Address{Abstract, SocketPath(0)}, 0, home.Path, 1000}, "at @/tmp"},
		{"ssh -X", Facts{Display: "localhost:10.0", Sockets: []Socket{path(0, 0)}, Authorities: []AuthorityFile{home}},
			Display{Address{TCP, "localhost:6010"}, 10, home.Path, 1000}, "tcp localhost:6010"},
		{"another host's cookie", Facts{Display: "far:2", Authorities: []AuthorityFile{home, {Path: "/hosts", Hosts: true}}},
			Display{Address{TCP, "far:6002"}, 2, "/hosts", 1000}, "tcp far:6002"},
		{"socket named", Facts{Display: "/run/x:1", Authorities: []AuthorityFile{home, mutter}},
			Display{Address{Unix, "/run/x:1"}, 1, mutter.Path, 1000}, "/run/x:1"},
		{"the file that has the cookie", Facts{Display: ":1", Sockets: []Socket{path(1, 1000)}, Authorities: []AuthorityFile{home, mutter}},
			Display{x1, 1, mutter.Path, 1000}, "mutter"},
		{"login session", Facts{Sessions: []Session{
			{ID: "1", UID: 120, Type: "x11", Class: "greeter", Display: ":1", Active: true},
			{ID: "3", UID: 1000, Type: "tty", Class: "user"}, session},
			Sockets: []Socket{path(0, 0), path(1, 0)}, Authorities: []AuthorityFile{home}},
			Display{x0, 0, home.Path, 1000}, `session "2"`},
		{"active session first", Facts{Sessions: []Session{
			{ID: "1", UID: 1000, Type: "x11", Class: "user", Display: ":1"}, session}, Sockets: []Socket{path(0, 0), path(1, 0)}},
			Display{x0, 0, "", 1000}, `session "2"`},
		{"another person's session", Facts{Sessions: []Session{{ID: "1", UID: 1001, Type: "x11", Class: "user", Display: ":0", Active: true}},
			Sockets: []Socket{path(0, 1001)}}, Display{}, "none"},
		{"Xwayland: own socket", Facts{WaylandDisplay: "wayland-0", Sockets: []Socket{path(0, 120), path(1, 1000)}, Authorities: []AuthorityFile{mutter}},
			Display{x1, 1, mutter.Path, 1000}, "socket of uid 1000"},
		{"root's socket with a cookie", Facts{Sockets: []Socket{path(0, 0)}, Authorities: []AuthorityFile{home}},
			Display{x0, 0, home.Path, 1000}, "socket of uid 0"},
		{"root's socket without a cookie", Facts{Sockets: []Socket{path(3, 0)}, Authorities: []AuthorityFile{home}}, Display{}, "none"},
		{"abstract with a cookie", Facts{Sockets: []Socket{abstract(0)}, Authorities: []AuthorityFile{home}},
			Display{Address{Abstract, SocketPath(0)}, 0, home.Path, 1000}, "@"},
		{"pure Wayland", Facts{WaylandDisplay: "wayland-0"}, Display{}, "no Xwayland"},
		{"nothing", Facts{}, Display{}, "none for uid 1000"},
		{"stale DISPLAY", Facts{Display: ":7", Sockets: []Socket{path(0, 0)}}, Display{}, "no X server listens"},
		{"hostile DISPLAY", Facts{Display: "\x1b[2J\n:0", Sockets: []Socket{path(0, 0)}}, Display{}, "none"},
	}
	for _, c := range cases {
		c.facts.UID = 1000
		got, trace, err := Decide(c.facts)
		if got != c.want || (err == nil) != (c.want != Display{}) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
		if !strings.Contains(trace, c.trace) || strings.ContainsAny(trace, "\n\x1b") {
			t.Errorf("%s: trace %q; want %q in it", c.name, trace, c.trace)
		}
	}
	if _, _, err := Decide(Facts{}); !errors.Is(err, ErrNoDisplay) {
		t.Errorf("without facts: %v", err)
	}
}

// The texts are of Debian 13's programs.
func TestParseFacts(t *testing.T) {
	sessions := parseSessions("Id=2\nUser=1000\nType=x11\nClass=user\nActive=yes\nDisplay=:0\n\nId=c1\nUser=120\nType=wayland\nClass=greeter\nActive=no\nDisplay=\n\nnonsense\n")
	if len(sessions) != 2 || sessions[0] != (Session{"2", 1000, "x11", "user", ":0", true}) || sessions[1].UID != 120 {
		t.Errorf("sessions: %+v", sessions)
	}
	sockets := parseUnixTable(`Num       RefCount Protocol Flags    Type St Inode Path
00000000db83ab68: 00000002 00000000 00010000 0001 01 56638 /tmp/.X11-unix/X0
00000000f7221e80: 00000002 00000000 00010000 0001 01 56637 @/tmp/.X11-unix/X5
00000000f7221e81: 00000003 00000000 00000000 0001 03 56639 @/tmp/.X11-unix/X6
00000000f7221e82: 00000003 00000000 00010000 0005 01 56640 @/tmp/.X11-unix/X7
00000000f7221e83: 00000003 00000000 00010000 0001 01 56641 @/tmp/.X11-unix/X99999
00000000f7221e84: 00000003 00000000 00010000 0001 01 56642 @/tmp/.X11-unix/X-1
`)
	if len(sockets) != 1 || sockets[0] != (Socket{Address{Abstract, SocketPath(5)}, 5, 0}) {
		t.Errorf("sockets: %+v", sockets)
	}
}

func FuzzParseFacts(f *testing.F) {
	f.Add("Id=2\nUser=1000\nDisplay=:0\n\nId=3\n", "0: 2 0 00010000 0001 01 5 @/tmp/.X11-unix/X5\n")
	f.Fuzz(func(t *testing.T, sessions, table string) {
		Decide(Facts{Sessions: parseSessions(sessions), Sockets: parseUnixTable(table)})
	})
}
