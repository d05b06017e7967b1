package bootstrap

import (
	"bufio"
	"bytes"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

// A Source is one entry of apt's list of sources that offers binary packages
// (sources.list(5)).
type Source struct {
	URIs       []string
	Suites     []string
	Components []string
	SignedBy   string // path of a keyring, or empty; "embedded" for a key in the entry itself
}

// maxSources bounds a sources file, in bytes, and maxLine one of its lines.
const (
	maxSources = 1 << 20
	maxLine    = 8 << 10
)

// ParseList reads the one-line style of sources.list(5). What it does not
// understand it leaves out: the entry is apt's to complain about.
func ParseList(data []byte) []Source {
	var found []Source
	for line := range lines(data) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest := word(line)
		if kind != "deb" {
			continue
		}
		var s Source
		if strings.HasPrefix(rest, "[") {
			options, after, closed := strings.Cut(rest[1:], "]")
			if !closed {
				continue
			}
			for option := range strings.FieldsSeq(options) {
				if value, is := strings.CutPrefix(option, "signed-by="); is {
					s.SignedBy = value
				}
			}
			rest = after
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		s.URIs, s.Suites, s.Components = fields[:1:1], fields[1:2:2], fields[2:]
		found = append(found, s)
	}
	return found
}

// ParseDeb822 reads the deb822 style of sources.list(5).
func ParseDeb822(data []byte) []Source {
	var found []Source
	stanza := map[string]string{}
	last := ""
	end := func() {
		types := strings.Fields(stanza["types"])
		if slices.Contains(types, "deb") && !isNo(stanza["enabled"]) {
			s := Source{
				URIs:       strings.Fields(stanza["uris"]),
				Suites:     strings.Fields(stanza["suites"]),
				Components: strings.Fields(stanza["components"]),
				SignedBy:   stanza["signed-by"],
			}
			if strings.Contains(s.SignedBy, "PGP PUBLIC KEY") {
				s.SignedBy = "embedded"
			}
			if len(s.URIs) > 0 && len(s.Suites) > 0 {
				found = append(found, s)
			}
		}
		stanza, last = map[string]string{}, ""
	}
	for line := range lines(data) {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			end()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" && len(stanza[last]) < maxLine {
				stanza[last] += " " + strings.TrimSpace(line)
			}
		default:
			key, value, is := strings.Cut(line, ":")
			if !is {
				last = ""
				continue
			}
			last = strings.ToLower(strings.TrimSpace(key))
			stanza[last] = strings.TrimSpace(value)
		}
	}
	end()
	return found
}

// isNo knows the words that apt takes for no (apt.conf(5)).
func isNo(value string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(value))
}

// lines yields the lines of a file, of a bounded part of it.
func lines(data []byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		data = data[:min(len(data), maxSources)]
		scan := bufio.NewScanner(bytes.NewReader(data))
		scan.Buffer(nil, maxLine)
		for scan.Scan() {
			if !yield(strings.TrimSuffix(scan.Text(), "\r")) {
				return
			}
		}
	}
}

func word(s string) (first, rest string) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// An Archive is where the packages of a distribution come from.
type Archive struct {
	Main       string   // mirror of the distribution: http://deb.debian.org/debian
	Security   string   // mirror of its security updates
	Components []string // main, contrib, …
	Kind       string   // "set", "host" or "default": who chose it
}

// DefaultArchive is what Debian itself recommends (https://deb.debian.org).
var DefaultArchive = Archive{
	Main:       "http://deb.debian.org/debian",
	Security:   "http://deb.debian.org/debian-security",
	Components: []string{"main"},
	Kind:       "default",
}

// ChooseArchive decides where a Debian release is fetched from: the mirror that
// was set, else the one that the host uses when it runs Debian itself, else
// Debian's own. sources are the host's, codename the release the host runs.
//
// Of the host's sources those count that carry the host's own release from a
// path that names Debian and that no key of somebody else's signs: what others
// offer beside it (a browser, a database) is not the distribution. A wrong guess
// does no harm, as Debian's keyring has to sign what comes.
func ChooseArchive(set, hostID, codename string, sources []Source, wanted string) Archive {
	if set != "" {
		a := DefaultArchive
		a.Main, a.Kind = strings.TrimSuffix(set, "/"), "set"
		return a
	}
	if hostID != "debian" || codename == "" {
		return DefaultArchive
	}
	// The list may call the host's release by its age; the mirror is the same.
	var plain, security []string
	for _, suite := range []string{codename, "stable", "oldstable", "testing", "unstable"} {
		plain = append(plain, suite)
		security = append(security, suite+"-security", suite+"/updates")
	}
	main := mirrorOf(sources, plain)
	if main == nil {
		return DefaultArchive
	}
	a := Archive{Main: main.URIs[0], Security: DefaultArchive.Security, Kind: "host"}
	if s := mirrorOf(sources, security); s != nil {
		a.Security = s.URIs[0]
	}
	for _, c := range main.Components {
		known := c == "main" || c == "contrib" || c == "non-free" ||
			c == "non-free-firmware" && releases[wanted].firmware
		if known && !slices.Contains(a.Components, c) {
			a.Components = append(a.Components, c)
		}
	}
	return a
}

// mirrorOf returns the first source of Debian's that carries one of the suites,
// with its first address that can be used as the only one.
func mirrorOf(sources []Source, suites []string) *Source {
	for _, s := range sources {
		if !slices.Contains(s.Components, "main") || !slices.ContainsFunc(s.Suites, func(suite string) bool {
			return slices.Contains(suites, strings.TrimSuffix(suite, "/"))
		}) {
			continue
		}
		if s.SignedBy != "" && !strings.HasPrefix(path.Base(s.SignedBy), "debian-archive-") {
			continue
		}
		for _, uri := range s.URIs {
			if clean, ok := usableMirror(uri); ok && strings.Contains(path.Base(clean), "debian") {
				s.URIs = []string{clean}
				return &s
			}
		}
	}
	return nil
}

// usableMirror says whether an address can be given to apt: http or https, and
// nothing in it that has a meaning on a line of sources.list.
func usableMirror(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	if strings.ContainsAny(uri, " \t\r\n\"[]#\\") || len(uri) > 1024 {
		return "", false
	}
	return strings.TrimRight(uri, "/"), true
}

// Lines returns the lines of sources.list for a release from an archive.
func (a Archive) Lines(name string) []string {
	r := releases[name]
	line := func(mirror, suite string) string {
		return "deb " + mirror + " " + suite + " " + strings.Join(a.Components, " ")
	}
	out := []string{line(a.Main, name)}
	if r.updates {
		out = append(out, line(a.Main, name+"-updates"))
	}
	if r.security {
		out = append(out, line(a.Security, name+"-security"))
	}
	return out
}

// Inside returns the archive as containers are told of it: an address that holds
// a password, which an untrusted program must not learn, or that no container
// can reach, as it lies on the host or its own network, gives way to Debian's.
func (a Archive) Inside() Archive {
	if !reachable(a.Main) {
		a.Main = DefaultArchive.Main
	}
	if !reachable(a.Security) {
		a.Security = DefaultArchive.Security
	}
	return a
}

func reachable(mirror string) bool {
	u, err := url.Parse(mirror)
	if err != nil || u.User != nil {
		return false
	}
	host := u.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".local") || !strings.ContainsAny(host, ".:") {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsGlobalUnicast() && !ip.IsPrivate()
	}
	return true
}
