package image

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"debian/bookworm":  "debian/bookworm",
		"debian/stable":    "debian/trixie",
		"debian/oldstable": "debian/bookworm",
		"debian/testing":   "debian/forky",
		"debian/unstable":  "debian/sid",
		"debian/duke":      "debian/duke", // to come: the mirror knows
		"debian/bookworm + packages [xterm  mc xterm]":  "debian/bookworm + packages [mc xterm]",
		"debian/stable + packages [g++ libstdc++6]":     "debian/trixie + packages [g++ libstdc++6]",
		"debian/sid + packages [vim=2:9.1.0016-1~bpo1]": "debian/sid + packages [vim=2:9.1.0016-1~bpo1]",
	} {
		r, err := Parse(in)
		if err != nil || r.String() != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", in, r.String(), err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for in, says := range map[string]string{
		"":                                         "DISTRIBUTION/RELEASE",
		"bookworm":                                 "DISTRIBUTION/RELEASE",
		"debain/bookworm":                          "there is debian",
		"Debian/bookworm":                          "there is debian",
		"debian/bookwrom":                          "did you mean debian/bookworm?",
		"debian/Bookworm":                          "did you mean debian/bookworm?",
		"debian/stabel":                            "did you mean debian/stable?",
		"debian/":                                  "not a name",
		"debian/../etc":                            "not a name",
		"debian/-x":                                "not a name",
		"debian/a\nb":                              "not a name",
		"debian/\x1b[31m":                          `\x1b`,
		"debian/" + strings.Repeat("a", 40):        "not a name",
		"debian/sid + packages [a]":                "two characters",
		"debian/sid + packages [mc":                "no ]",
		"debian/sid + packages [--yes]":            "begins with",
		"debian/sid + packages [mc-]":              "command",
		"debian/sid + packages [mc+]":              "command",
		"debian/sid + packages [./x.deb]":          "begins with",
		"debian/sid + packages [xx/sid]":           "made of",
		"debian/sid + packages [mc=]":              "not a version",
		"debian/sid + packages [mc=-o]":            "not a version",
		"debian/sid + packages [mc mc=1]":          "name it once",
		"debian/sid + packages [?essential]":       "begins with",
		"debian/sid" + strings.Repeat("x", 20<<10): "at most",
	} {
		r, err := Parse(in)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Parse(%.60q) = %v, %v; want an error with %q", in, r, err, says)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 400) {
			t.Errorf("Parse(%.60q): the error is not fit for a terminal: %q", in, err)
		}
	}
}

func TestWithKeepsTheOriginal(t *testing.T) {
	r, err := Parse("debian/bookworm + packages [mc]")
	if err != nil {
		t.Fatal(err)
	}
	more, err := r.With("xterm", "bc", "mc")
	if err != nil || !slices.Equal(more.Packages, []string{"bc", "mc", "xterm"}) {
		t.Errorf("With gives %v, %v", more, err)
	}
	if !slices.Equal(r.Packages, []string{"mc"}) || r.Base().String() != "debian/bookworm" {
		t.Errorf("the reference it was called on changed: %v", r)
	}
}

func TestKeyDependsOnEverythingThatGoesIn(t *testing.T) {
	r, _ := Parse("debian/bookworm + packages [mc xterm]")
	base := Spec{Reference: r, Arch: "amd64", Mirror: "host", Variant: "system", Recipe: 1}
	seen := map[string]string{base.Key(): "base"}
	other, _ := Parse("debian/bookworm + packages [mc]")
	for name, s := range map[string]Spec{
		"packages": {other, "amd64", "host", "system", 1},
		"release":  {Reference{"debian", "trixie", r.Packages}, "amd64", "host", "system", 1},
		"arch":     {r, "arm64", "host", "system", 1},
		"mirror":   {r, "amd64", "default", "system", 1},
		"variant":  {r, "amd64", "host", "small", 1},
		"recipe":   {r, "amd64", "host", "system", 2},
		"joined":   {Reference{"debian", "bookworm", []string{"mc xterm"}}, "amd64", "host", "system", 1},
	} {
		if twin, is := seen[s.Key()]; is {
			t.Errorf("%s has the key of %s", name, twin)
		}
		seen[s.Key()] = name
	}
	again, _ := Parse("debian/bookworm + packages [xterm mc mc]")
	if (Spec{again, "amd64", "host", "system", 1}).Key() != base.Key() {
		t.Error("the order of the packages changes the key")
	}
	if !validKey(base.Key()) {
		t.Errorf("%q is not a key", base.Key())
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"debian/bookworm", "debian/stable + packages [a bc]", "debian/x + packages [mc=1:2~3 g++]", "/", " + packages [", "debian/\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again.String() != r.String() {
			t.Fatalf("%q gives %q, which gives %q, %v", s, r, again, err)
		}
		if strings.ContainsAny(r.String(), "\n\x00\x1b") {
			t.Fatalf("control characters in %q", r)
		}
		for _, p := range r.Packages {
			if CheckPackage(p) != nil || p[0] == '-' || strings.ContainsAny(p, " /,?'\"") {
				t.Fatalf("package %q came through", p)
			}
		}
	})
}
