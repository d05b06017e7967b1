package image

import (
	"fmt"
	"slices"
	"strings"
)

// A Reference names what is wanted: a release of a distribution, and the packages
// that are in it beside those of every image. The zero value names nothing.
type Reference struct {
	Distribution string   // debian
	Release      string   // bookworm: a codename
	Packages     []string // sorted, each once; name or name=version
}

// Bounds of a reference: they are far above what a person writes.
const (
	maxReference = 16 << 10
	maxPackages  = 500
	maxRelease   = 32
	maxPackage   = 128 // name and version together
)

// known lists the releases by distribution that suggestions are made from, the
// newest first. A release that is not here is the mirror's to know.
var known = map[string][]string{
	"debian": {"trixie", "bookworm", "bullseye", "forky", "sid"},
}

// words are what Debian calls its releases by their age, since trixie was
// released in August 2025 (https://www.debian.org/releases).
var words = map[string]string{
	"stable":       "trixie",
	"oldstable":    "bookworm",
	"oldoldstable": "bullseye",
	"testing":      "forky",
	"unstable":     "sid",
}

// Parse reads a reference as a person or String writes it:
//
//	debian/bookworm
//	debian/stable + packages [firefox-esr x11-apps]
//
// Words such as "stable" become the codename that they mean now, so that what was
// made from them stays what it is.
func Parse(s string) (Reference, error) {
	if len(s) > maxReference {
		return Reference{}, fmt.Errorf("image %.40q…: %d bytes, at most %d are allowed", s, len(s), maxReference)
	}
	name, list, derived := strings.Cut(s, " + packages [")
	distribution, release, slash := strings.Cut(name, "/")
	if !slash {
		return Reference{}, fmt.Errorf("image %.60q: write DISTRIBUTION/RELEASE, such as debian/%s", s, known["debian"][0])
	}
	if _, is := known[distribution]; !is {
		return Reference{}, fmt.Errorf("image %.60q: distribution %.40q is not known; there is %s", s, distribution, strings.Join(distributions(), ", "))
	}
	if word, is := words[release]; is {
		release = word
	}
	if err := checkRelease(distribution, release); err != nil {
		return Reference{}, fmt.Errorf("image %.60q: %w", s, err)
	}
	r := Reference{Distribution: distribution, Release: release}
	if !derived {
		return r, nil
	}
	list, closed := strings.CutSuffix(list, "]")
	if !closed {
		return Reference{}, fmt.Errorf("image %.60q: the list of packages has no ] at its end", s)
	}
	return r.With(strings.Fields(list)...)
}

func distributions() []string {
	var names []string
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func checkRelease(distribution, release string) error {
	if slices.Contains(known[distribution], release) {
		return nil
	}
	if near := nearest(release, append(slices.Collect(mapKeys(words)), known[distribution]...)); near != "" {
		return fmt.Errorf("release %.40q is not known; did you mean %s/%s?", release, distribution, near)
	}
	if len(release) < 2 || len(release) > maxRelease || release[0] < 'a' || release[0] > 'z' || !isPlain(release, "-") {
		return fmt.Errorf("release %.40q is not a name; known are %s", release, strings.Join(known[distribution], ", "))
	}
	return nil
}

// String writes the reference so that Parse reads the same again.
func (r Reference) String() string {
	s := r.Distribution + "/" + r.Release
	if len(r.Packages) > 0 {
		s += " + packages [" + strings.Join(r.Packages, " ") + "]"
	}
	return s
}

// Base is the reference without its packages: what a derived image is made from.
func (r Reference) Base() Reference {
	return Reference{Distribution: r.Distribution, Release: r.Release}
}

// With returns the reference with more packages in it.
func (r Reference) With(packages ...string) (Reference, error) {
	all := slices.Concat(r.Packages, packages)
	for _, p := range packages {
		if err := CheckPackage(p); err != nil {
			return Reference{}, err
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > maxPackages {
		return Reference{}, fmt.Errorf("%d packages for one image, at most %d are allowed", len(all), maxPackages)
	}
	for i := 1; i < len(all); i++ {
		a, _, _ := strings.Cut(all[i-1], "=")
		b, _, _ := strings.Cut(all[i], "=")
		if a == b {
			return Reference{}, fmt.Errorf("package %s is wanted as %s and as %s; name it once", a, all[i-1], all[i])
		}
	}
	if len(all) == 0 {
		all = nil
	}
	return Reference{Distribution: r.Distribution, Release: r.Release, Packages: all}, nil
}

// CheckPackage says why something is not the name of a Debian package, or
// NAME=VERSION (Debian policy, sections 5.6.1 and 5.6.12). What passes is safe as
// an argument of apt: no option, no pattern, no file.
func CheckPackage(p string) error {
	if len(p) > maxPackage {
		return fmt.Errorf("package %.40q…: %d bytes, at most %d are allowed", p, len(p), maxPackage)
	}
	name, version, versioned := strings.Cut(p, "=")
	switch {
	case len(name) < 2:
		return fmt.Errorf("package %.40q: the name of a package has at least two characters", p)
	case !isPlain(name[:1], "") || !isPlain(name, "+-."):
		return fmt.Errorf("package %.40q: the name of a package is made of a-z, 0-9, +, - and . and begins with a letter or digit", p)
	case name[len(name)-1] == '-' || name[len(name)-1] == '+' && !strings.HasSuffix(name, "++"):
		// apt-get(8) reads these as a wish to remove or to install.
		return fmt.Errorf("package %.40q: apt takes a name with %q at its end for a command", p, name[len(name)-1:])
	case versioned && (version == "" || version[0] < '0' || version[0] > '9' || !isPlain(strings.ToLower(version), "+-.:~")):
		return fmt.Errorf("package %.60q: %.40q is not a version", p, version)
	}
	return nil
}

// isPlain says whether all of s is lower-case letters, digits, and the given
// others.
func isPlain(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.IndexByte(others, c) >= 0) {
			return false
		}
	}
	return true
}

func mapKeys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// nearest returns the candidate that a slip of the fingers makes into s: at most
// two letters away, and closer than it is long; or "".
func nearest(s string, candidates []string) string {
	if len(s) > maxRelease {
		return ""
	}
	slices.Sort(candidates)
	best, found := 3, ""
	for _, c := range candidates {
		if d := distance(strings.ToLower(s), c); d < best && d*2 < len(c) {
			best, found = d, c
		}
	}
	return found
}

// distance is how many letters have to be added, dropped, changed or swapped with
// their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
