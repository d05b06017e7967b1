package config

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

func TestWhatIsWrongIsSaidWithItsPlace(t *testing.T) {
	for _, test := range []struct {
		text string
		want string // of the whole error
	}{
		{`memroy = "2GiB"`, `f:1:1: unknown key "memroy"; the nearest is memory: write memory = "2GiB"`},
		{"\n  privilegd = true", `f:2:3: unknown key "privilegd"; the nearest is privileged: write privileged = false`},
		{`colour = 1`, `f:1:1: unknown key "colour"; the keys are init, ids`},
		{"\"a\\u001b[31m\" = 1", `f:1:1: unknown key "a\x1b[31m"`},
		{`[environmnt]`, `f:1:2: unknown table "environmnt"; the nearest is [environment]`},
		{"[foo]\nbar = 1\nbaz = 2", `f:1:2: unknown table "foo"; the tables are`},
		{`[memory]`, `f:1:2: memory is a value and no table; write memory = "2GiB"`},
		{`[mounts]`, `f:1:2: mounts are a list; write [[mounts]]`},
		{`[[environment]]`, `f:1:3: environment is one table and no list; write [environment]`},
		{`environment = "A=1"`, `f:1:1: environment is a table; write NAME = "value" below [environment]`},
		{`[environment.A]`, `f:1:2: a variable is a value and no table`},
		{`privileged = "yes"`, `f:1:14: privileged must be true or false and not a string; write privileged = false`},
		{`memory = 2`, `f:1:10: memory must be a string and not a whole number; write memory = "2GiB"`},
		{`memory = [1]`, `f:1:10: memory must be a string and not a list`},
		{`pids = 4096.0`, `f:1:8: pids must be a whole number and not a number; write pids = 4096`},
		{`cpus = 1979-05-27`, `f:1:8: cpus must be a number and not a date or time; write cpus = 1.5`},
		{`cpus = nan`, `f:1:8: cpus: "nan" is not a number of processors; write one such as 1.5, or 0 for no limit`},
		{`cpus = -1`, `f:1:8: cpus: "-1" processors is out of range`},
		{`cpus = 0x10`, `f:1:8: cpus must be a decimal number`},
		{`pids = 15`, `f:1:8: pids: "15" tasks is out of range; write 16 to 4194304`},
		{`pids = 99999999999999999999`, `f:1:8: pids: "99999999999999999999" tasks is out of range`},
		{`memory = "2"`, `f:1:10: memory: size "2" has no unit; write 2MiB or 2B`},
		{`memory = "1MiB"`, `f:1:10: memory: memory "1MiB" is too little to start anything; write at least 16MiB`},
		{`stop-timeout = "10"`, `f:1:16: stop-timeout: duration "10" has no unit; write 10s for seconds`},
		{`stop-timeout = "2h"`, `f:1:16: stop-timeout: duration "2h" is out of range; write "0s" to "1h"`},
		{`ids = "persn"`, `f:1:7: ids: "persn" is not a choice; did you mean "person"? Write "person", "root" or "private"`},
		{`shell = "bash"`, `f:1:9: shell: "bash" is not an absolute path`},
		{`shell = "/bin/ba\nsh"`, `f:1:9: shell: "/bin/ba\nsh" holds a control character`},
		{"memory = \"1GiB\"\nmemory = \"2GiB\"", `f:2:1: memory is set twice, first in line 1; keep one of them`},
		{"[environment]\nA = \"1\"\n[environment]", `f:3:2: [environment] is set twice, first in line 1`},
		{"environment.A = \"1\"\n[environment]\nA = \"2\"", `environment.A is set twice, first in line 1`},
		{"[environment]\n2A = \"1\"", `f:2:1: "2A" is not a name for a variable; use letters, digits and _`},
		{"[environment]\n\"A=B\" = \"1\"", `f:2:1: "A=B" is not a name for a variable`},
		{"[environment]\nA = 1", `f:2:5: environment.A must be a string and not a whole number; write A = "value"`},
		{"[environment]\nA = \"1\\n2\"", `f:2:5: environment.A: "1\n2" holds a line break or a NUL`},
		{"[[mounts]]\nsource = \"/a\"\n", `f:1:3: target is missing`},
		{"[[mounts]]\ntarget = \"a\"\n", `f:1:3: source is missing`},
		{"[[mounts]]\nsource = \"a\"\ntarget = \"a\"", `f:2:10: source "a" is neither absolute nor in your home`},
		{"[[mounts]]\nsource = \"/a/../b\"\ntarget = \"a\"", `f:2:10: source "/a/../b" has .. in it`},
		{"[[mounts]]\nsource = \"/a\"\ntarget = \"/proc/self\"", `f:3:10: target "/proc/self" is in /proc, which hutch fills itself`},
		{"[[mounts]]\nsource = \"/a\"\ntarget = \"/run\"", `f:3:10: target "/run" would cover /run/hutch`},
		{"[[mounts]]\nsource = \"/a\"\ntarget = \"//\"", `f:3:10: target "//" would cover everything`},
		{"[[mounts]]\nsource = \"/a\\u0000\"\ntarget = \"a\"", `f:2:10: source "/a\x00" holds a control character`},
		{"[[mounts]]\nsorce = \"/a\"\ntarget = \"a\"", `f:2:1: unknown key "sorce" of a mount; the nearest is source`},
		{"[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\nmemory = \"1GiB\"", `f:4:1: key memory stands in a [[mounts]] table; move it above`},
		{"[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\nmode = \"wr\"", `f:4:8: mode "wr" is not a choice; did you mean "rw"?`},
		{"[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\noptional = \"true\"", `f:4:12: optional of a mount must be true or false and not a string`},
		{"[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\n[[mounts]]\nsource = \"/b\"\ntarget = \"a/\"", `f:4:3: target "a" is set twice, first in line 1`},
		{"mounts = [1]", `f:1:11: a mount is a table and not a whole number`},
		{"[images.debain]", `f:1:2: unknown table "images.debain"; the nearest is [images.debian]`},
		{"[images.debian]\nmirror = \"ftp://x/\"", `f:2:10: images.debian.mirror: "ftp://x/" is not an http, https or file address`},
		{"[images.debian]\nkeyring = \"k.gpg\"", `f:2:11: images.debian.keyring: "k.gpg" is not an absolute path`},
		{"memory = ", `f:1:9: not TOML:`},
		{"ids = \"private\"\n= 3", `f:2:1: not TOML:`},
		{"ids = \"\xff\"", `f:1:8: not UTF-8`},
		{"# é\nsch\u00f6n = 1", `f:2:4: not TOML:`},
		{"memory.size = \"1GiB\"", `f:1:1: unknown key "memory.size"`},
	} {
		_, err := Parse("f", Machine, []byte(test.text))
		var all Errors
		if !errors.As(err, &all) {
			t.Errorf("%q: error %v, want Errors", test.text, err)
			continue
		}
		if !strings.HasPrefix(err.Error(), test.want) && !strings.Contains(err.Error(), ": "+test.want) {
			t.Errorf("%q:\ngot  %v\nwant %s", test.text, err, test.want)
		}
		if strings.ContainsFunc(strings.ReplaceAll(err.Error(), "\n", ""), unicode.IsControl) {
			t.Errorf("%q: control characters in %q", test.text, err)
		}
	}
}

func TestAllMistakesAreSaidAtOnce(t *testing.T) {
	_, err := Parse("f", Container, []byte("memroy = \"1GiB\"\npids = 1\n[images.debian]\nmirror = \"http://a/\"\n[[mounts]]\nsource = 3\n"))
	var all Errors
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range all {
		lines = append(lines, fmt.Sprint(e.Line))
	}
	if got := strings.Join(lines, " "); got != "1 2 4 6" {
		t.Errorf("errors in lines %s, want 1 2 4 6:\n%v", got, err)
	}
	if !strings.Contains(err.Error(), "images.debian.mirror holds for the whole machine; it may stand in hutch.toml alone") {
		t.Errorf("images in a container's file: %v", err)
	}
}

func TestNoiseCostsNoMore(t *testing.T) {
	noise := []byte(strings.Repeat("a=1\n", MaxSize/4))
	_, err := Parse("f", Machine, noise)
	var all Errors
	if !errors.As(err, &all) || len(all) > maxErrors {
		t.Fatalf("%d errors", len(all))
	}
	if shown := strings.Count(err.Error(), "\n"); shown > maxShown {
		t.Errorf("%d lines shown", shown)
	}
	if _, err := Parse("f", Machine, append(noise, '#')); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a file over the limit: %v", err)
	}
	for _, text := range []string{
		"mounts = [" + strings.Repeat("{},", MaxSize/3-10) + "]",
		"mounts = [" + strings.Repeat("1,", MaxSize/2-10) + "]",
		"mounts = [{" + strings.Repeat("a=1,", MaxSize/4-10) + "}]",
		"environment = {" + strings.Repeat("A='',", MaxSize/5-10) + "}",
		strings.Repeat("[[mounts]]\n", MaxSize/11),
	} {
		if _, err := Parse("f", Machine, []byte(text)); !errors.As(err, &all) || len(all) > maxErrors {
			t.Errorf("%.20s…: %d errors", text, len(all))
		}
	}
	deep := "environment = " + strings.Repeat("[", MaxSize/2)
	if _, err := Parse("f", Machine, []byte(deep)); err == nil {
		t.Error("nested lists were taken")
	}
}

func TestTOMLInAllItsForms(t *testing.T) {
	l := parse(t, "\"pids\" = 4_096\r\ncpus = 2\nmemory = '''1.5GiB'''\n"+
		"environment = { A = \"a b\", 'B' = \"#\" } # comment\n"+
		"images = { debian.mirror = \"file:///srv/debian\" }\n"+
		"mounts = [ # first\n {source=\"/a\",target=\"/srv//a/\"}, # }\n]\n")
	c := Resolve(l)
	if c.PIDs != 4096 || c.CPUs != 2 || c.Memory.Size != 1536*MiB || c.Environment["A"] != "a b" || c.Environment["B"] != "#" ||
		c.Images["debian"].Mirror != "file:///srv/debian" || len(c.Mounts) != 1 || c.Mounts[0] != (Mount{"/a", "/srv/a", ReadOnly, false}) {
		t.Errorf("%+v", c)
	}
	if o := c.Origins["environment.B"]; o.Line != 4 {
		t.Errorf("environment.B set in line %d, want 4", o.Line)
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"0B": 0, "1B": 1, "1KiB": 1024, "2K": 2048, "1kB": 1000, "512MiB": 512 << 20, "512M": 512 << 20, "2GiB": 2 << 30,
		"1.5GiB": 3 << 29, "0.5 KiB": 512, "1TB": 1e12, "8388607TiB": 8388607 << 40,
	} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
		if back, err := ParseBytes(got.String()); err != nil || back != got {
			t.Errorf("%q → %s → %d, %v", text, got, back, err)
		}
	}
	for _, text := range []string{"", "2", "GiB", "-1GiB", "1,5GiB", "1.GiB", ".5GiB", "1 GB B", "0x10B", "8388608TiB", "99999999999999999999B",
		"1.1234567GiB", "inf", "2gib", "1e3B", "+1B", "１GiB", "8388607.999999TiBB"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, test := range []struct {
		memory  string
		machine Bytes
		want    Bytes
	}{
		{"half", 16 * GiB, 8 * GiB},
		{"half", 3*GiB + 12345, 3 * GiB / 2},
		{"half", MiB, minMemory},
		{"unlimited", 16 * GiB, 0},
		{"2GiB", 16 * GiB, 2 * GiB},
		{"32GiB", 16 * GiB, 32 * GiB},
	} {
		m, err := ParseMemory(test.memory)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Limit(test.machine); got != test.want {
			t.Errorf("%s of %d: %d, want %d", test.memory, test.machine, got, test.want)
		}
		text, err := m.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Memory
		if err := back.UnmarshalText(text); err != nil || back != m {
			t.Errorf("%s: %+v → %s → %+v, %v", test.memory, m, text, back, err)
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "-0": 0, "0.01": 0.01, "1.5": 1.5, "8192": 8192} {
		got, err := ParseCPUs(text)
		if err != nil || got != want || math.Signbit(got) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "0.009", "-1", "inf", "NaN", "8193", "1e400"} {
		if got, err := ParseCPUs(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
	if d, err := ParseStopTimeout("1m30s"); err != nil || d != 90*time.Second {
		t.Errorf("1m30s: %v, %v", d, err)
	}
	if _, err := ParseStopTimeout("-1s"); err == nil {
		t.Error("-1s was taken")
	}
}

func TestParseMount(t *testing.T) {
	for text, want := range map[string]Mount{
		"~/Videos:Videos":           {"~/Videos", "Videos", ReadOnly, false},
		"~/Videos/:Videos/:rw":      {"~/Videos", "Videos", ReadWrite, false},
		"/srv//music:/srv/music:ro": {"/srv/music", "/srv/music", ReadOnly, false},
		"~:host":                    {"~", "host", ReadOnly, false},
		"/:host":                    {"/", "host", ReadOnly, false}, // refused later, where it is known whose it is
		"/a b:c\"d":                 {"/a b", "c\"d", ReadOnly, false},
	} {
		got, err := ParseMount(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                                     "is not SOURCE:TARGET",
		"/a":                                   "is not SOURCE:TARGET",
		"/a:b:ro:c":                            "goes into a [[mounts]] table",
		"/a:b:rx":                              `mode "rx" is not a choice`,
		"/a:":                                  "target is missing",
		":a":                                   "source is missing",
		"a:b":                                  "neither absolute nor in your home",
		"~user/a:b":                            "neither absolute nor in your home",
		"/a:../b":                              "has .. in it",
		"/a/..:b":                              "has .. in it",
		"/a:.":                                 "would cover everything",
		"/a:/":                                 "would cover everything",
		"/a:/dev/x":                            "is in /dev",
		"/a:/sys":                              "is in /sys",
		"/a:~/b":                               "write it without ~/",
		"/a:b\nc":                              "control character",
		"/a\x1b[0m:b":                          `"/a\x1b[0m:b"`,
		"/a:\xff":                              "not UTF-8",
		"/a:/run/":                             "would cover /run/hutch",
		"/a:/proc/./x":                         "is in /proc",
		"/" + strings.Repeat("a", 5000) + ":b": "too long",
	} {
		_, err := ParseMount(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestLoadTrustsOnlyFilesThatNobodyElseCanWrite(t *testing.T) {
	dir := t.TempDir()
	me := uint32(os.Geteuid())
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("pids = 100\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.toml", 0o644)
	if l, err := Load(good, Container, me); err != nil || *l.PIDs != 100 || l.Origins["pids"].Source != good {
		t.Errorf("a good file: %+v, %v", l, err)
	}

	missing := filepath.Join(dir, "missing.toml")
	if _, err := Load(missing, Container, me); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if l, err := LoadOptional(missing, Container, me); err != nil || len(l.Entries()) != 0 {
		t.Errorf("a missing optional file: %+v, %v", l, err)
	}

	link := filepath.Join(dir, "link.toml")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(dir, "pipe.toml")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write("large.toml", 0o644)
	if err := os.Truncate(large, MaxSize+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link:                         "a symbolic link",
		pipe:                         "not a regular file",
		dir:                          "not a regular file",
		large:                        "too large",
		write("group.toml", 0o664):   "others may write to it (mode 0664)",
		write("world.toml", 0o646):   "others may write to it",
		write("foreign.toml", 0o644): "belongs to user",
	} {
		owner := me
		if strings.HasSuffix(path, "foreign.toml") {
			if me != 0 {
				continue // needs root: the file has to belong to a third
			}
			if err := os.Chown(path, 4242, -1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := LoadOptional(path, Container, owner); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(path), err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Reference)
	f.Add(settingCommentedOut.ReplaceAll(Reference, []byte("$1")))
	for _, s := range []string{"", "memory = \"1GiB\"", "environment = {A=\"1\",}", "mounts=[{source='/a',target='b'}]", "[[mounts]]\nsource='/a'",
		"[images]\ndebian = {mirror = 'http://a/'}", "a.b.c = [[{}]]", "\xef\xbb\xbfids='root'", "environment = {A=[{#\n}]}", "pids = 0b11111111", "a = ["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse("f", Machine, data)
		if err != nil {
			if strings.ContainsFunc(strings.ReplaceAll(err.Error(), "\n", ""), unicode.IsControl) {
				t.Errorf("control characters in %q", err)
			}
			return
		}
		// Whatever was taken can be said again, and means the same.
		again, err := Parse("f", Machine, write(l))
		if err != nil {
			t.Fatalf("%v in what was written:\n%s", err, write(l))
		}
		if a, b := values(Resolve(l)), values(Resolve(again)); fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%v became %v", a, b)
		}
	})
}

// write is a TOML text that says what l says.
func write(l Layer) []byte {
	var b strings.Builder
	for _, k := range keys {
		if text, set := k.get(l); set {
			fmt.Fprintf(&b, "%s = %s\n", k.name, k.literal(text))
		}
	}
	for name, v := range l.Environment {
		fmt.Fprintf(&b, "environment.%s = %s\n", name, quoteTOML(v))
	}
	for _, m := range l.Mounts {
		b.Write(mountTable(m))
	}
	return []byte(b.String())
}

func FuzzMountOption(f *testing.F) {
	for _, s := range []string{"~/Videos:Videos:ro", "/a:b", ":::", "~:x:rw", "/a:/proc", "/\x00:a", "/a:./~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMount(s)
		if err != nil {
			return
		}
		again, err := ParseMount(m.String())
		if err != nil || again != m {
			t.Errorf("%q → %q → %+v, %v", s, m, again, err)
		}
		for _, p := range []string{m.Source, m.Target} {
			if hasDotDot(p) || strings.ContainsFunc(p, unicode.IsControl) {
				t.Errorf("%q: path %q", s, p)
			}
		}
		if strings.HasPrefix(m.Target+"/", "/proc/") {
			t.Errorf("%q: target %q", s, m.Target)
		}
	})
}
