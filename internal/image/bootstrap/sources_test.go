package bootstrap

import (
	"slices"
	"strings"
	"testing"
)

const listed = `# a comment
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb-src http://deb.debian.org/debian bookworm main
deb [signed-by=/etc/apt/keyrings/sury.gpg] https://packages.sury.org/php/ bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://user:pass@ftp.de.debian.org/debian/ bookworm main contrib non-free-firmware # mirror
deb http://security.debian.org/debian-security bookworm-security main
deb https://download.docker.com/linux/debian bookworm stable
deb file:/srv/mirror/debian bookworm main
deb http://one-field-only
deb [unclosed http://x y
`

const deb822 = `# a comment
Types: deb deb-src
URIs: http://cdn.example/debian
  http://other.example/debian
Suites: trixie trixie-updates
Components: main non-free-firmware
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: trixie
Components: main

Types: deb
URIs: http://mirror.example/debian/
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main
`

func TestParseSources(t *testing.T) {
	list := ParseList([]byte(listed))
	if len(list) != 6 || list[2].SignedBy != "/usr/share/keyrings/debian-archive-keyring.gpg" ||
		!slices.Equal(list[2].Components, []string{"main", "contrib", "non-free-firmware"}) {
		t.Errorf("one-line style: %d entries, %+v", len(list), list)
	}
	stanzas := ParseDeb822([]byte(deb822))
	if len(stanzas) != 3 || stanzas[0].SignedBy != "embedded" || len(stanzas[0].URIs) != 2 || stanzas[1].URIs[0] != "http://mirror.example/debian/" {
		t.Errorf("deb822 style: %+v", stanzas)
	}
}

func TestChooseArchive(t *testing.T) {
	one, many := ParseList([]byte(listed)), ParseDeb822([]byte(deb822))
	for name, c := range map[string]struct {
		set, id, codename string
		sources           []Source
		wanted            string
		main, security    string
		components        string
		kind              string
	}{
		"host, one-line":    {"", "debian", "bookworm", one, "bookworm", "https://user:pass@ftp.de.debian.org/debian", "http://security.debian.org/debian-security", "main contrib non-free-firmware", "host"},
		"another release":   {"", "debian", "bookworm", one, "bullseye", "https://user:pass@ftp.de.debian.org/debian", "http://security.debian.org/debian-security", "main contrib", "host"},
		"host, deb822":      {"", "debian", "trixie", many, "trixie", "http://mirror.example/debian", "http://mirror.example/debian-security", "main", "host"},
		"host by age":       {"", "debian", "trixie", ParseList([]byte("deb http://a.example/debian stable main")), "sid", "http://a.example/debian", DefaultArchive.Security, "main", "host"},
		"nothing usable":    {"", "debian", "trixie", one[:1], "trixie", DefaultArchive.Main, DefaultArchive.Security, "main", "default"},
		"not a Debian":      {"", "ubuntu", "bookworm", one, "bookworm", DefaultArchive.Main, DefaultArchive.Security, "main", "default"},
		"set":               {"http://set.example/debian/", "debian", "bookworm", one, "bookworm", "http://set.example/debian", DefaultArchive.Security, "main", "set"},
		"others' only":      {"", "debian", "bookworm", []Source{one[1], one[4]}, "bookworm", DefaultArchive.Main, DefaultArchive.Security, "main", "default"},
		"unknown codename":  {"", "debian", "", one, "bookworm", DefaultArchive.Main, DefaultArchive.Security, "main", "default"},
		"hostile in a list": {"", "debian", "bookworm", []Source{{URIs: []string{"http://x.example/debian\ndeb"}, Suites: []string{"bookworm"}, Components: []string{"main"}}}, "bookworm", DefaultArchive.Main, DefaultArchive.Security, "main", "default"},
	} {
		a := ChooseArchive(c.set, c.id, c.codename, c.sources, c.wanted)
		if a.Main != c.main || a.Security != c.security || a.Kind != c.kind || strings.Join(a.Components, " ") != c.components {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestLines(t *testing.T) {
	a := Archive{Main: "http://m/debian", Security: "http://s/debian-security", Components: []string{"main", "contrib"}}
	for release, want := range map[string]string{
		"bookworm": "deb http://m/debian bookworm main contrib|deb http://m/debian bookworm-updates main contrib|deb http://s/debian-security bookworm-security main contrib",
		"sid":      "deb http://m/debian sid main contrib",
		"duke":     "deb http://m/debian duke main contrib",
	} {
		if got := strings.Join(a.Lines(release), "|"); got != want {
			t.Errorf("%s: %s", release, got)
		}
	}
}

func TestInside(t *testing.T) {
	for mirror, want := range map[string]string{
		"http://ftp.de.debian.org/debian":     "http://ftp.de.debian.org/debian",
		"https://user:pass@x.example/debian":  DefaultArchive.Main,
		"https://token@x.example/debian":      DefaultArchive.Main,
		"http://localhost:3142/debian":        DefaultArchive.Main,
		"http://127.0.0.1/debian":             DefaultArchive.Main,
		"http://192.168.1.2/debian":           DefaultArchive.Main,
		"http://[fd00::1]:3142/debian":        DefaultArchive.Main,
		"http://nas/debian":                   DefaultArchive.Main,
		"http://nas.local/debian":             DefaultArchive.Main,
		"http://[2a00:1450::1]/debian":        "http://[2a00:1450::1]/debian",
		"http://23.45.60.1/debian":            "http://23.45.60.1/debian",
		"http://169.254.169.254/debian":       DefaultArchive.Main,
		"http://mirror.example/debian/debian": "http://mirror.example/debian/debian",
	} {
		if got := (Archive{Main: mirror, Security: mirror}).Inside(); got.Main != want {
			t.Errorf("%s is %s inside, want %s", mirror, got.Main, want)
		}
	}
}

func TestOSReleaseAndSettings(t *testing.T) {
	id, codename := osRelease([]byte("PRETTY_NAME=\"x\"\nID=debian\nVERSION_CODENAME='trixie'\n"))
	if id != "debian" || codename != "trixie" {
		t.Errorf("%q %q", id, codename)
	}
	got := reachSettings([]byte(`APT "";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3142";
Acquire::https::Verify-Peer "true";
Acquire::Check-Valid-Until "false";
DPkg::Post-Invoke:: "rm -rf /";
Acquire::Languages:: "none";
Acquire::http::Bad "a\b";
`))
	want := []string{`Acquire::http::Proxy "http://proxy.example:3142"`, `Acquire::https::Verify-Peer "true"`, `Acquire::Check-Valid-Until "false"`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func FuzzSources(f *testing.F) {
	f.Add([]byte(listed))
	f.Add([]byte(deb822))
	f.Add([]byte("deb [] x y z\r\nTypes:deb\nURIs:\n a\nSuites: b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all := append(ParseList(data), ParseDeb822(data)...)
		a := ChooseArchive("", "debian", "bookworm", all, "bookworm")
		for _, line := range append(a.Lines("bookworm"), a.Inside().Lines("bookworm")...) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[0] != "deb" || strings.ContainsAny(line, "\n\r[]#\"") {
				t.Fatalf("line %q", line)
			}
			if !strings.HasPrefix(fields[1], "http://") && !strings.HasPrefix(fields[1], "https://") {
				t.Fatalf("address %q", fields[1])
			}
		}
	})
}

func FuzzWatch(f *testing.F) {
	f.Add("I: running apt-get update...\n\x1b[2Kdownloading:  45.20 [====>   ]\r\nE: x\n")
	f.Add("I: done\n 100.00 [\r -1 [\r NaN [\r")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0.0
		watch(strings.NewReader(text), func(p Progress) {
			if !(p.Percent >= last && p.Percent <= 100) {
				t.Fatalf("from %v to %v", last, p.Percent)
			}
			last = p.Percent
		})
	})
}
