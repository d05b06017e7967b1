package config

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, text string) Layer {
	t.Helper()
	l, err := Parse("test.toml", Machine, []byte(text))
	if err != nil {
		t.Fatalf("parse:\n%s\n%v", text, err)
	}
	return l
}

func TestLayersAreLaidOverEachOther(t *testing.T) {
	machine, err := Parse("hutch.toml", Machine, []byte(`
memory = "1GiB"
pids = 100
[environment]
A = "machine"
B = "machine"
[images.debian]
mirror = "http://mirror.example/debian"
[[mounts]]
source = "/srv/music"
target = "Music"
[[mounts]]
source = "/srv/video"
target = "Videos"
`))
	if err != nil {
		t.Fatal(err)
	}
	own, err := Parse("config.toml", Container, []byte(`
memory = "2GiB"
environment.B = "own"
mounts = [{source = "~/Music", target = "Music", mode = "rw"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	var options Layer
	if err := options.Set("pids", "200", "--pids"); err != nil {
		t.Fatal(err)
	}
	c := Resolve(machine, Layer{}, own, options)

	want := map[string][2]string{
		"memory":               {"2GiB", "config.toml:2"},
		"pids":                 {"200", "--pids"},
		"cpus":                 {"0.0", "built-in default"},
		"environment.A":        {"machine", "hutch.toml:5"},
		"environment.B":        {"own", "config.toml:3"},
		"images.debian.mirror": {"http://mirror.example/debian", "hutch.toml:8"},
		MountKey("Music"):      {"~/Music:Music:rw", "config.toml:4"},
		MountKey("Videos"):     {"/srv/video:Videos:ro", "hutch.toml:12"},
	}
	seen := 0
	for _, e := range c.Entries() {
		if w, is := want[e.Key]; is {
			seen++
			if e.Value != w[0] || e.Origin.String() != w[1] {
				t.Errorf("%s = %q from %q, want %q from %q", e.Key, e.Value, e.Origin, w[0], w[1])
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d of %d keys listed: %v", seen, len(want), c.Entries())
	}
	if c.Memory != (Memory{Size: 2 * GiB}) || c.PIDs != 200 || c.StopTimeout != 10*time.Second || c.Init != InitAuto {
		t.Errorf("resolved: %+v", c)
	}
	if d := Resolve(); len(d.Mounts) != 0 || len(d.Environment) != 0 {
		t.Errorf("an earlier Resolve changed the defaults: %+v", d)
	}
}

var settingCommentedOut = regexp.MustCompile(`(?m)^#(\S)`)

func TestReferenceHasEveryKeyWithItsDefault(t *testing.T) {
	l := parse(t, string(Reference))
	if got, want := values(Resolve(l)), values(Defaults()); len(got) != len(want) {
		t.Errorf("reference: %v\ndefaults: %v", got, want)
	} else {
		for k, v := range want {
			if got[k] != v {
				t.Errorf("reference says %s = %q, the default is %q", k, got[k], v)
			}
		}
	}
	for _, k := range keys {
		if _, set := k.get(l); !set {
			t.Errorf("reference lacks %s", k.name)
		}
	}

	// What is commented out is right too.
	all := parse(t, settingCommentedOut.ReplaceAllString(string(Reference), "$1"))
	if len(all.Environment) == 0 || len(all.Mounts) == 0 {
		t.Errorf("reference shows no variable or no mount: %+v", all)
	}
	block := string(Reference[strings.LastIndex(string(Reference), "[[mounts]]"):])
	for _, k := range mountKeys {
		if !strings.Contains(block, "#"+k+" = ") {
			t.Errorf("reference lacks %s of a mount", k)
		}
	}
}

func TestEachKeyIsExplainedInTheReference(t *testing.T) {
	lines := strings.Split(string(Reference), "\n")
	for _, k := range keys {
		name := k.name[strings.LastIndexByte(k.name, '.')+1:]
		for i, line := range lines {
			if !strings.HasPrefix(line, name+" = ") {
				continue
			}
			if !strings.HasPrefix(k.name, imagesKey) && !strings.HasPrefix(lines[i-1], "# ") {
				t.Errorf("no comment above %q", line)
			}
		}
	}
}

func TestNeedsRestart(t *testing.T) {
	old := Resolve(parse(t, "environment.GONE = \"x\"\n[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\n"))
	new := Resolve(parse(t, "memory = \"1GiB\"\nids = \"private\"\ndisplay = \"none\"\ninit = \"app\"\nenvironment.NEW = \"\"\n[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\nmode = \"rw\"\n"))
	live, restart, creation := NeedsRestart(old, new)
	check := func(what string, got []string, want ...string) {
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	check("live", live, "memory", MountKey("a"))
	check("restart", restart, "display", "environment.GONE", "environment.NEW", "init")
	check("creation", creation, "ids")

	live, restart, creation = NeedsRestart(new, new)
	if live != nil || restart != nil || creation != nil {
		t.Errorf("nothing changed, and yet: %q %q %q", live, restart, creation)
	}
}

func TestConfigAsJSON(t *testing.T) {
	before := Resolve(parse(t, settingCommentedOut.ReplaceAllString(string(Reference), "$1")))
	data, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	var after Config
	if err := json.Unmarshal(data, &after); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, after) {
		t.Errorf("%+v\nbecame\n%+v", before, after)
	}
}
