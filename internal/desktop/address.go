package desktop

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// SocketDir is where X servers have their sockets, in the file system and, with
// the same names, in the abstract name space.
const SocketDir = "/tmp/.X11-unix"

// Networks of an Address.
const (
	Unix     = "unix"     // a socket in the file system
	Abstract = "abstract" // a name of the network namespace (unix(7))
	TCP      = "tcp"
)

// An Address says how an X server is reached.
type Address struct {
	Network string `json:"network"`
	Path    string `json:"path"` // Unix: absolute; Abstract: the name without its NUL; TCP: host:port
}

func (a Address) String() string {
	switch a.Network {
	case Abstract:
		return "@" + a.Path
	case TCP:
		return "tcp " + a.Path
	}
	return a.Path
}

// SocketPath is where a server of this machine with the given display number has
// its socket, if it has one.
func SocketPath(number int) string { return filepath.Join(SocketDir, "X"+strconv.Itoa(number)) }

// maxVariable is the longest value of DISPLAY that is looked at, and maxNumber the
// highest display number: servers listen on TCP port 6000 + number.
const (
	maxVariable = 1024
	maxNumber   = 65535 - 6000
)

// A Name is a value of DISPLAY taken apart. Exactly one of Local, Path and Host
// says where the server is.
type Name struct {
	Local  bool   // this machine, under the usual names
	Path   string // a socket in the file system
	Host   string // TCP: a host name or an IP address
	Number int
	Screen int
}

// ParseName reads a value of DISPLAY as X's libraries do (X(7), "Display names"):
// ":0", ":0.1", "unix:0", "host:10", "tcp/host:0", "[::1]:0" and
// "/path/of/socket:0", whose ":0" is part of the file's name.
func ParseName(variable string) (Name, error) {
	bad := func(why string) (Name, error) {
		return Name{}, fmt.Errorf("DISPLAY=%.80q: %s; use :0, host:0 or /path/of/socket", variable, why)
	}
	if variable == "" {
		return bad("is empty")
	}
	if len(variable) > maxVariable {
		return bad("is too long")
	}
	for i := range len(variable) {
		if variable[i] <= ' ' || variable[i] >= 0x7F {
			return bad("holds blanks or characters that are no part of a display's name")
		}
	}
	rest := variable
	if after, is := strings.CutPrefix(rest, "unix:/"); is {
		rest = "/" + after
	}
	host, number, found := cutLast(rest, ":")
	if strings.HasPrefix(rest, "/") {
		if !found || strings.Contains(number, "/") { // no number behind the path
			return Name{Path: filepath.Clean(rest)}, nil
		}
		n, screen, err := parseNumbers(number)
		if err != nil {
			return bad(err.Error())
		}
		path := rest
		if dot := strings.IndexByte(number, '.'); dot >= 0 {
			path = host + ":" + number[:dot]
		}
		return Name{Path: filepath.Clean(path), Number: n, Screen: screen}, nil
	}
	if !found {
		return bad("has no colon and number")
	}
	n, screen, err := parseNumbers(number)
	if err != nil {
		return bad(err.Error())
	}
	name := Name{Number: n, Screen: screen}
	protocol := ""
	if before, after, has := strings.Cut(host, "/"); has {
		protocol, host = before, after
	}
	switch protocol {
	case "unix", "local":
		host = "" // what stands before the colon is this machine's name
	case "", "tcp", "inet", "inet6":
		if protocol != "" && host == "" {
			host = "localhost"
		}
	default:
		return bad("names an unknown protocol")
	}
	if host == "" || protocol == "" && host == "unix" {
		name.Local = true
		return name, nil
	}
	if inner, is := strings.CutPrefix(host, "["); is && strings.HasSuffix(inner, "]") {
		host = inner[:len(inner)-1]
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return bad("names no host")
	}
	name.Host = host
	return name, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func parseNumbers(s string) (number, screen int, err error) {
	first, second, two := strings.Cut(s, ".")
	number, ok := parseDigits(first)
	if !ok || number > maxNumber {
		return 0, 0, fmt.Errorf("the number of the display is not one of 0 to %d", maxNumber)
	}
	if two {
		if screen, ok = parseDigits(second); !ok || screen > 255 {
			return 0, 0, fmt.Errorf("the number of the screen is not one of 0 to 255")
		}
	}
	return number, screen, nil
}

func parseDigits(s string) (int, bool) {
	if s == "" || len(s) > 5 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// isHostName is lax about the rest of RFC 1123, for the resolver decides.
func isHostName(s string) bool {
	return len(s) > 0 && len(s) <= 253 && s[0] != '-' && s[0] != '.' && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	}) < 0
}

// tcpAddress is where a server on another host listens, or sshd for a forwarded
// one.
func (n Name) tcpAddress() Address {
	return Address{TCP, net.JoinHostPort(n.Host, strconv.Itoa(6000+n.Number))}
}
