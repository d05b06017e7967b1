package container

import (
	"fmt"
	"strings"
)

// MaxName is the longest name: it is a DNS label (RFC 1035, section 2.3.4).
const MaxName = 63

// reserved names mean something else in DNS or to hutch.
var reserved = map[string]string{
	"localhost": "it means the machine itself",
	"wpad":      "browsers would take the container for a proxy server",
	"isatap":    "hosts would take the container for a router (RFC 5214)",
	"hutch":     "it is the domain of containers",
	"gateway":   "it is the router's name",
}

// CheckName says why a container can not be called so. A name is one DNS label:
// letters a-z, digits and inner hyphens (RFC 1123, section 2.1).
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a container needs a name")
	case len(name) > MaxName:
		return fmt.Errorf("name %.20q…: %d characters, at most %d are allowed", name, len(name), MaxName)
	case name[0] == '-' || name[len(name)-1] == '-':
		return fmt.Errorf("name %q: must begin and end with a letter or digit", name)
	}
	if i := strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}); i >= 0 {
		return fmt.Errorf("name %q: character %q is not allowed; use a-z, 0-9 and -", name, []rune(name[i:])[0])
	}
	if why, is := reserved[name]; is {
		return fmt.Errorf("name %q is reserved: %s", name, why)
	}
	return nil
}
