package account

import (
	"strings"
	"testing"
)

var mara = Person{"mara", 1000, 1000, "/home/mara", "/bin/bash"}

func debian() Files {
	return Files{
		Passwd:  []byte("root:x:0:0:root:/root:/bin/bash\ngames:x:5:60:games:/usr/games:/usr/sbin/nologin\nmessagebus:x:100:107::/nonexistent:/usr/sbin/nologin\n"),
		Group:   []byte("root:x:0:\naudio:x:29:\nvideo:x:44:root\nsudo:x:27:\nusers:x:100:\n"),
		Shadow:  []byte("root:*:19000:0:99999:7:::\ngames:*:19000:0:99999:7:::\n"),
		Gshadow: []byte("root:*::\naudio:*::\nvideo:*::root\nsudo:*::\n"),
	}
}

func TestAdd(t *testing.T) {
	got, err := Add(debian(), mara, Groups)
	if err != nil {
		t.Fatal(err)
	}
	want := debian()
	for _, c := range []struct{ what, got, want string }{
		{"passwd", string(got.Passwd), string(want.Passwd) + "mara:x:1000:1000::/home/mara:/bin/bash\n"},
		{"group", string(got.Group), "root:x:0:\naudio:x:29:mara\nvideo:x:44:root,mara\nsudo:x:27:mara\nusers:x:100:\nmara:x:1000:\n"},
		{"shadow", string(got.Shadow), string(want.Shadow) + "mara:*::0:99999:7:::\n"},
		{"gshadow", string(got.Gshadow), "root:*::\naudio:*::mara\nvideo:*::root,mara\nsudo:*::mara\nmara:!::\n"},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.what, c.got, c.want)
		}
	}
	again, err := Add(got, mara, Groups)
	if err != nil || !same(again, got) {
		t.Errorf("added twice it differs (%v):\n%s%s", err, again.Passwd, again.Group)
	}
}

func TestAddWithoutShadowFiles(t *testing.T) {
	f := debian()
	f.Shadow, f.Gshadow = nil, nil
	got, err := Add(f, mara, Groups)
	if err != nil || got.Shadow != nil || got.Gshadow != nil || !strings.Contains(string(got.Passwd), "mara:*:1000:") {
		t.Errorf("%v: %s %q %q", err, got.Passwd, got.Shadow, got.Gshadow)
	}
}

func TestConflicts(t *testing.T) {
	with := func(passwd, group, shadow string) Files {
		f := debian()
		f.Passwd = append(f.Passwd, passwd...)
		f.Group = append(f.Group, group...)
		f.Shadow = append(f.Shadow, shadow...)
		return f
	}
	for name, c := range map[string]struct {
		files  Files
		person Person
		has    []string // lines of all files together
		hasNot []string
		err    string
	}{
		"uid of an ordinary user": {with("debian:x:1000:1000::/home/debian:/bin/sh\n", "debian:x:1000:\n", "debian:$6$secret:1:::::\n"), mara,
			[]string{"mara:x:1000:1000::/home/mara:/bin/bash", "debian:x:1000:"}, []string{"debian:$6", "debian:x:1000:1000"}, ""},
		"name of an ordinary user": {with("mara:x:1001:1001::/home/other:/bin/sh\n", "", "mara:$6$secret:1:::::\n"), mara,
			[]string{"mara:x:1000:1000::/home/mara:/bin/bash"}, []string{"$6$", "1001"}, ""},
		"several at once": {with("a1:x:1000:1000::/:/bin/sh\nmara:x:2000:1::/:/bin/sh\nb1:x:1000:1::/:/bin/sh\n", "", ""), mara,
			[]string{"mara:x:1000:1000::/home/mara:/bin/bash"}, []string{"a1:", "b1:", ":2000:"}, ""},
		"uid of the system":  {debian(), Person{"mara", 100, 1000, "/home/mara", "/bin/sh"}, nil, nil, "messagebus"},
		"name of the system": {debian(), Person{"games", 1000, 1000, "/home/games", "/bin/sh"}, nil, nil, "system users"},
		"gid of a group":     {debian(), Person{"mara", 1000, 100, "/home/mara", "/bin/sh"}, []string{"mara:x:1000:100::", "users:x:100:"}, []string{"mara:x:100:"}, ""},
		"name of a group": {with("", "mara:x:77:\n", ""), mara,
			[]string{"mara:x:77:", "mara_1000:x:1000:"}, []string{"mara:x:1000:\n"}, ""},
		"root":         {debian(), Person{"root", 0, 0, "/root", "/bin/bash"}, nil, []string{"mara"}, ""},
		"damaged line": {with("mara\n:::\nmara:x\nmara:x:abc:1::/:/x\n", "mara:x:zz:\n", ""), mara, []string{"mara:x:1000:1000::/home/mara:/bin/bash"}, nil, ""},
		"no last newline": {Files{Passwd: []byte("root:x:0:0::/root:/bin/sh"), Group: []byte("video:x:44:")}, mara,
			[]string{"root:x:0:0::/root:/bin/sh\nmara:", "video:x:44:mara\n"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Add(c.files, c.person, Groups)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want an error with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			all := string(got.Passwd) + string(got.Group) + string(got.Shadow) + string(got.Gshadow)
			for _, s := range c.has {
				if !strings.Contains(all, s) {
					t.Errorf("%q is missing in\n%s", s, all)
				}
			}
			for _, s := range c.hasNot {
				if strings.Contains(all, s) {
					t.Errorf("%q is in\n%s", s, all)
				}
			}
			if again, err := Add(got, c.person, Groups); err != nil || !same(again, got) {
				t.Errorf("added twice it differs: %v\n%s", err, again.Passwd)
			}
		})
	}
}

func TestInjection(t *testing.T) {
	for _, p := range []Person{
		{"mara\nroot2:x:0:0::/:/bin/sh", 1000, 1000, "/home/mara", "/bin/sh"},
		{"mara:x:0", 1000, 1000, "/home/mara", "/bin/sh"},
		{"mara", 1000, 1000, "/home/mara:/bin/sh\nr::0:0:", "/bin/sh"},
		{"mara", 1000, 1000, "/home/mara", "/bin/sh\n"},
		{"mara", 1000, 1000, "/home/../etc", "/bin/sh"},
		{"mara", 1000, 1000, "home", "/bin/sh"},
		{"", 1000, 1000, "/home/mara", "/bin/sh"},
		{"-mara", 1000, 1000, "/home/mara", "/bin/sh"},
		{"a,b", 1000, 1000, "/home/mara", "/bin/sh"},
		{"\x1b[31m", 1000, 1000, "/home/mara", "/bin/sh"},
		{strings.Repeat("a", 33), 1000, 1000, "/home/mara", "/bin/sh"},
		{"mara", 1<<32 - 1, 1000, "/home/mara", "/bin/sh"},
	} {
		_, err := Add(debian(), p, Groups)
		if err == nil {
			t.Errorf("%+v was taken", p)
		} else if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("the error is not fit for a terminal: %q", err)
		}
	}
	if _, err := Add(Files{Passwd: make([]byte, maxFile+1)}, mara, nil); err == nil {
		t.Error("a huge file was taken")
	}
}

func TestFind(t *testing.T) {
	f, err := Add(debian(), mara, Groups)
	if err != nil {
		t.Fatal(err)
	}
	for who, want := range map[string]string{
		"mara":      "mara 1000 1000 [27 29 44] /home/mara /bin/bash",
		"1000":      "mara 1000 1000 [27 29 44] /home/mara /bin/bash",
		"root":      "root 0 0 [44] /root /bin/bash",
		"mara:27":   "mara 1000 27 [29 44] /home/mara /bin/bash",
		"mara:sudo": "mara 1000 27 [29 44] /home/mara /bin/bash",
		"4711":      " 4711 4711 [] / /bin/sh",
		"4711:29":   " 4711 29 [] / /bin/sh",
	} {
		u, err := Find(f, who)
		if got := strings.TrimSpace(strings.Join(strings.Fields(sprint(u)), " ")); err != nil || got != strings.TrimSpace(want) {
			t.Errorf("%q is %q, %v; want %q", who, got, err, want)
		}
	}
	for _, who := range []string{"", "nobody2", "mara:nogroup2", ":", "4294967295", "99999999999", "mara:", "-1"} {
		if u, err := Find(f, who); err == nil {
			t.Errorf("%q is %+v", who, u)
		}
	}
	hostile := Files{Passwd: []byte("mara:x:4294967295:0::/:/x\nmara:x:-1:0::/:/x\nmara:x:99999999999:0::/:/x\nmara:x:0\n")}
	if u, err := Find(hostile, "mara"); err == nil {
		t.Errorf("a line without sense gives %+v", u)
	}
}

func TestShellAndSudoers(t *testing.T) {
	has := func(paths ...string) func(string) bool {
		return func(p string) bool { return strings.Contains(strings.Join(paths, " ")+" ", p+" ") }
	}
	for _, c := range []struct{ got, want string }{
		{Shell("/usr/bin/fish", has("/usr/bin/fish", "/bin/bash")), "/usr/bin/fish"},
		{Shell("/usr/bin/fish", has("/bin/bash")), "/bin/bash"},
		{Shell("", has()), "/bin/sh"},
		{string(Sudoers(mara)), "#1000 ALL=(ALL:ALL) NOPASSWD: ALL\n"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func FuzzAdd(f *testing.F) {
	d := debian()
	f.Add(d.Passwd, d.Group, d.Shadow, "mara", uint32(1000), uint32(1000), "/home/mara")
	f.Add([]byte("mara:x:1000\nx:y:1000:1:::\n"), []byte("mara:x:1000"), []byte("mara:"), "mara", uint32(1000), uint32(5), "/")
	f.Add([]byte("a::1:1:\n\n:"), []byte("video:x:44:,,mara\nvideo:x:44:"), []byte(nil), "_x", uint32(70000), uint32(1), "/h")
	f.Fuzz(func(t *testing.T, passwd, group, shadow []byte, name string, uid, gid uint32, home string) {
		p := Person{name, uid, gid, home, "/bin/sh"}
		got, err := Add(Files{Passwd: passwd, Group: group, Shadow: shadow}, p, Groups)
		if err != nil || uid == 0 {
			return
		}
		lines := 0
		for line := range strings.Lines(string(got.Passwd)) {
			fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
			if len(fields) < 2 || fields[0] != name {
				continue
			}
			lines++
			if len(fields) != 7 || fields[5] != home {
				t.Fatalf("the person's line is %q", line)
			}
		}
		if lines != 1 {
			t.Fatalf("%d lines of the person in %q", lines, got.Passwd)
		}
		if u, err := Find(got, name); err != nil || u.UID != uid || u.GID != gid || u.Home != home {
			t.Fatalf("found %+v, %v", u, err)
		}
		if again, err := Add(got, p, Groups); err != nil || !same(again, got) {
			t.Fatalf("added twice it differs: %v", err)
		}
	})
}
