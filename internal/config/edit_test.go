package config

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestSetKeepsWhatThePersonWrote(t *testing.T) {
	for _, test := range []struct {
		name, before, key, value, after string
	}{
		{"an empty file", "", "memory", "2GiB", "memory = \"2GiB\"\n"},
		{"a value in place", "# mine\nmemory = '1GiB'   # enough\npids = 100\n", "memory", "2GiB", "# mine\nmemory = \"2GiB\"   # enough\npids = 100\n"},
		{"no line break at the end", "pids = 100", "memory", "2GiB", "pids = 100\nmemory = \"2GiB\"\n"},
		{"above the tables", "pids = 100\n\n# vars\n[environment]\nA = \"1\"\n", "cpus", "2", "pids = 100\ncpus = 2.0\n\n# vars\n[environment]\nA = \"1\"\n"},
		{"above the comment on the first table", "# file\n\n# vars\n[environment]\n", "ids", "root", "# file\n\nids = \"root\"\n# vars\n[environment]\n"},
		{"a multi-line string", "shell = \"\"\"\\\n  /bin/sh\"\"\" # s\npids = 100\n", "shell", "/bin/bash", "shell = \"/bin/bash\" # s\npids = 100\n"},
		{"a new variable in its table", "[environment]\nA = \"1\" # a\n# end\n\n[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\n", "environment.B", "2",
			"[environment]\nA = \"1\" # a\nB = \"2\"\n# end\n\n[[mounts]]\nsource = \"/a\"\ntarget = \"a\"\n"},
		{"a new variable without a table", "pids = 100\n", "environment.B", "a \"b\"\t\\", "pids = 100\n\n[environment]\nB = \"a \\\"b\\\"\\t\\\\\"\n"},
		{"a variable beside dots", "environment.A = \"1\"\npids = 100\n", "environment.B", "2", "environment.A = \"1\"\nenvironment.B = \"2\"\npids = 100\n"},
		{"a variable in an inline table", "environment = { A = \"1\" } # x\n", "environment.B", "2", "environment = { A = \"1\", B = \"2\" } # x\n"},
		{"a variable in an empty inline table", "environment = {}\n", "environment.B", "2", "environment = { B = \"2\" }\n"},
		{"a variable that is in an inline table", "environment = { A = \"1\", B = '2' }\n", "environment.A", "3", "environment = { A = \"3\", B = '2' }\n"},
		{"a mirror", "", "images.debian.mirror", "http://a/", "[images.debian]\nmirror = \"http://a/\"\n"},
		{"a mirror beside a keyring", "images.debian.keyring = \"/k\"\n[environment]\n", "images.debian.mirror", "http://a/",
			"images.debian.keyring = \"/k\"\nimages.debian.mirror = \"http://a/\"\n[environment]\n"},
		{"a mirror in half a table", "[images]\ndebian.keyring = \"/k\"\n", "images.debian.mirror", "http://a/",
			"[images]\ndebian.keyring = \"/k\"\ndebian.mirror = \"http://a/\"\n"},
		{"a mirror in an inline table", "[images]\ndebian = {keyring = \"/k\"}\n", "images.debian.mirror", "http://a/",
			"[images]\ndebian = {keyring = \"/k\", mirror = \"http://a/\"}\n"},
		{"line breaks of another system", "pids = 100\r\n", "memory", "2GiB", "pids = 100\r\nmemory = \"2GiB\"\r\n"},
		{"the same value", "privileged = true\n", "privileged", "true", "privileged = true\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Set([]byte(test.before), Machine, test.key, test.value)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.after {
				t.Errorf("got\n%s\nwant\n%s", got, test.after)
			}
			value, set, err := Get(got, Machine, test.key)
			if err != nil || !set || value == "" {
				t.Errorf("get: %q, %v, %v", value, set, err)
			}
		})
	}
}

func TestUnsetTakesTheLineAway(t *testing.T) {
	for _, test := range []struct{ name, before, key, after string }{
		{"a line", "pids = 100\nmemory = \"1GiB\" # enough\n# end\n", "memory", "pids = 100\n# end\n"},
		{"the last line", "memory = \"1GiB\"", "memory", ""},
		{"several lines", "shell = '''\n/bin/sh'''\npids = 100\n", "shell", "pids = 100\n"},
		{"a variable", "[environment]\nA = \"1\"\nB = \"2\"\n", "environment.A", "[environment]\nB = \"2\"\n"},
		{"the first of an inline table", "environment = { A = \"1\", B = \"2\" }\n", "environment.A", "environment = { B = \"2\" }\n"},
		{"the last of an inline table", "environment = { A = \"1\", B = \"2\" }\n", "environment.B", "environment = { A = \"1\" }\n"},
		{"the only one of an inline table", "environment = {A = \"1\"}\n", "environment.A", "environment = {}\n"},
		{"what is not there", "pids = 100 # x\n", "memory", "pids = 100 # x\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Unset([]byte(test.before), Machine, test.key)
			if err != nil || string(got) != test.after {
				t.Errorf("%v; got\n%s\nwant\n%s", err, got, test.after)
			}
			if _, set, err := Get(got, Machine, test.key); set || err != nil {
				t.Errorf("still set: %v", err)
			}
		})
	}
}

func TestMountsAreEditedByTarget(t *testing.T) {
	const before = "# mine\npids = 100\n\n[[mounts]] # music\nsource = \"/m\"\ntarget = \"Music\"\n\n# video\n[[mounts]]\nsource = \"/v\"\ntarget = \"Videos\"\n"
	added, err := AddMount([]byte(before), Container, Mount{Source: "~/x y", Target: "/srv/x", Mode: ReadWrite, Optional: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := before + "\n[[mounts]]\nsource = \"~/x y\"\ntarget = \"/srv/x\"\nmode = \"rw\"\noptional = true\n"; string(added) != want {
		t.Errorf("added:\n%s\nwant\n%s", added, want)
	}
	again, err := AddMount(added, Container, Mount{Source: "~/x y", Target: "/srv//x/", Mode: ReadWrite, Optional: true})
	if err != nil || string(again) != string(added) {
		t.Errorf("added twice: %v\n%s", err, again)
	}
	removed, err := RemoveMount([]byte(before), Container, "Music")
	if want := "# mine\npids = 100\n\n\n# video\n[[mounts]]\nsource = \"/v\"\ntarget = \"Videos\"\n"; err != nil || string(removed) != want {
		t.Errorf("removed: %v\n%s\nwant\n%s", err, removed, want)
	}
	replaced, err := AddMount([]byte(before), Container, Mount{Source: "/other", Target: "Music"})
	if err != nil || strings.Contains(string(replaced), `"/m"`) || strings.Count(string(replaced), "[[mounts]]") != 2 {
		t.Errorf("replaced: %v\n%s", err, replaced)
	}
	if same, err := RemoveMount([]byte(before), Container, "nothing"); err != nil || string(same) != before {
		t.Errorf("removed what is not there: %v\n%s", err, same)
	}

	inline := "mounts = [\n  { source = \"/a\", target = \"a\" }, # first\n  { source = \"/b\", target = \"b\" },\n]\n"
	got, err := RemoveMount([]byte(inline), Container, "b")
	if err != nil || !strings.Contains(string(got), "# first") || strings.Contains(string(got), "/b") {
		t.Errorf("removed from a list: %v\n%s", err, got)
	}
	got, err = AddMount([]byte(inline), Container, Mount{Source: "/c", Target: "c"})
	if err != nil || !strings.Contains(string(got), "# first") {
		t.Errorf("added to a list: %v\n%s", err, got)
	}
	if _, err := AddMount(nil, Container, Mount{Source: "/c", Target: "/proc"}); err == nil {
		t.Error("a mount on /proc was written")
	}
}

func TestWhatIsNotEdited(t *testing.T) {
	for _, test := range []struct {
		file, key, value, want string
		kind                   Kind
	}{
		{"memroy = \"1GiB\"\n", "pids", "100", "unknown key \"memroy\"", Container},
		{"", "memroy", "1GiB", "the nearest is memory", Container},
		{"", "memory", "lots", "is not a size", Container},
		{"", "mounts", "/a:b", "added and removed by their target", Container},
		{"", "environment", "A=1", "name a variable such as environment.EDITOR", Container},
		{"", "environment.A B", "1", "not a name for a variable", Container},
		{"", "environment.A", "1\n[images]", "line break", Container},
		{"", "images.debian.mirror", "http://a/", "may stand in hutch.toml alone", Container},
	} {
		got, err := Set([]byte(test.file), test.kind, test.key, test.value)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("set %s = %q: %v, want %q\n%s", test.key, test.value, err, test.want, got)
		}
	}
	if _, err := Unset([]byte("pids = 1"), Container, "pids"); err == nil {
		t.Error("a file with a mistake was edited")
	}
	if _, err := Unset(nil, Container, "pid"); err == nil || !strings.Contains(err.Error(), "nearest is pids") {
		t.Errorf("unset of an unknown key: %v", err)
	}
}

// comments are the words of a file that an edit may not lose; strings with a # in
// them are not among the seeds' values.
func comments(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimSpace(line); strings.HasPrefix(trimmed, "#") {
			all = append(all, trimmed)
		}
	}
	return all
}

func FuzzSet(f *testing.F) {
	f.Add(string(Reference), "memory", "1GiB")
	f.Add(settingCommentedOut.ReplaceAllString(string(Reference), "$1"), "environment.EDITOR", "x\ty")
	f.Add("environment = {A='1', # c\n}", "environment.B", "é")
	f.Add("environment.A = '1'\n[[mounts]]\nsource='/a'\ntarget='b'", "environment.A", "")
	f.Add("[images]\ndebian.mirror='http://a/'", "images.debian.keyring", "/k")
	f.Add("images = {}", "images.debian.keyring", "/k")
	f.Add("images = {debian = {}}\r\n", "images.debian.keyring", "/k")
	f.Add("[environment] # c", "pids", "100")
	f.Fuzz(func(t *testing.T, file, key, value string) {
		before, err := Parse("", Machine, []byte(file))
		if err != nil {
			return
		}
		after, err := Set([]byte(file), Machine, key, value)
		if err != nil {
			return
		}
		l, err := Parse("", Machine, after)
		if err != nil {
			t.Fatalf("%v in\n%s", err, after)
		}
		if err := before.set(key, value); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(said(l), said(before)) {
			t.Errorf("%v, want %v", said(l), said(before))
		}
		for _, c := range comments(file) {
			if !strings.Contains(string(after), c) && !strings.Contains(file, `"""`) && !strings.Contains(file, `'''`) {
				t.Errorf("comment %q was lost:\n%s", c, after)
			}
		}
		gone, err := Unset(after, Machine, key)
		if err != nil {
			t.Fatalf("unset: %v in\n%s", err, after)
		}
		if v, set, err := Get(gone, Machine, key); set || err != nil {
			t.Errorf("%s is still %q, %v", key, v, err)
		}
	})
}

func ExampleSet() {
	file := []byte("# for the browser\nmemory = \"1GiB\" # was too little\n")
	file, err := Set(file, Container, "memory", "3GiB")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(file))
	// Output:
	// # for the browser
	// memory = "3GiB" # was too little
}
