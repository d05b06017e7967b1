package xauth

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/testenv"
)

func TestChoose(t *testing.T) {
	local := func(host, number, data string) Record {
		return Record{FamilyLocal, []byte(host), number, Cookie, []byte(data)}
	}
	inet := Record{FamilyInternet, []byte{192, 0, 2, 7}, "10", Cookie, []byte("inet")}
	inet6 := Record{FamilyInternet6, netip.MustParseAddr("2001:db8::7").AsSlice(), "10", Cookie, []byte("inet6")}
	cases := []struct {
		name    string
		records []Record
		to      Server
		want    string
	}{
		{"own host", []Record{local("other", "0", "no"), local("me", "0", "yes")}, Server{Hostname: "me"}, "yes"},
		{"other number", []Record{local("me", "1", "no")}, Server{Hostname: "me"}, ""},
		{"any number", []Record{local("me", "", "yes")}, Server{Number: 7, Hostname: "me"}, "yes"},
		{"renamed host", []Record{local("old", "0", "yes")}, Server{Hostname: "me"}, "yes"},
		{"wild", []Record{local("me", "3", "no"), Wild(0, []byte("yes"))}, Server{Hostname: "me"}, "yes"},
		{"first wins", []Record{Wild(0, []byte("yes")), local("me", "0", "no")}, Server{Hostname: "me"}, "yes"},
		{"other protocol", []Record{{FamilyWild, nil, "0", "XDM-AUTHORIZATION-1", []byte("no")}}, Server{}, ""},
		{"forwarded by ssh", []Record{inet, local("me", "10", "yes")}, Server{10, "me", netip.MustParseAddr("127.0.0.1")}, "yes"},
		{"tcp", []Record{local("me", "10", "no"), inet}, Server{10, "me", netip.MustParseAddr("192.0.2.7")}, "inet"},
		{"tcp 4 in 6", []Record{inet}, Server{10, "me", netip.MustParseAddr("::ffff:192.0.2.7")}, "inet"},
		{"tcp 6", []Record{inet, inet6}, Server{10, "me", netip.MustParseAddr("2001:db8::7")}, "inet6"},
		{"tcp elsewhere", []Record{local("me", "10", "no"), inet}, Server{10, "me", netip.MustParseAddr("192.0.2.8")}, ""},
	}
	for _, c := range cases {
		got, ok := Choose(c.records, c.to)
		if string(got.Data) != c.want || ok != (c.want != "") {
			t.Errorf("%s: chose %q, %v; want %q", c.name, got.Data, ok, c.want)
		}
	}
}

// The file that xauth(1) writes is read, and xauth(1) reads ours.
func TestAgainstXauth(t *testing.T) {
	testenv.RequireTools(t, "xauth")
	path := filepath.Join(t.TempDir(), "authority")
	const secret = "000102030405060708090a0b0c0d0e0f"
	if out, err := exec.Command("xauth", "-f", path, "add", "somewhere/unix:3", ".", secret).CombinedOutput(); err != nil {
		t.Fatalf("xauth: %v: %s", err, out)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	records, err := Parse(file)
	want := []Record{{FamilyLocal, []byte("somewhere"), "3", Cookie, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}}}
	if err != nil || !reflect.DeepEqual(records, want) {
		t.Fatalf("read %v, %v; want %v", records, err, want)
	}
	ours, err := Encode(Wild(0, want[0].Data))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, ours, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("xauth", "-f", path, "list").CombinedOutput()
	if err != nil || !strings.Contains(string(out), secret) {
		t.Errorf("xauth list: %v: %s", err, out)
	}
}

func TestParseCut(t *testing.T) {
	whole, err := Encode(Wild(0, []byte("0123456789abcdef")), Wild(1, nil))
	if err != nil {
		t.Fatal(err)
	}
	first, err := Encode(Wild(0, []byte("0123456789abcdef")))
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		records, err := Parse(whole[:n])
		if (err == nil) != (n == 0 || n == len(first)) {
			t.Errorf("the first %d bytes: error %v", n, err)
		}
		if want := map[bool]int{false: 0, true: 1}[n >= len(first)]; len(records) != want {
			t.Errorf("the first %d bytes: %d records, want %d", n, len(records), want)
		}
	}
	if _, err := Parse(make([]byte, MaxFile+1)); err == nil {
		t.Error("a file above the limit was read")
	}
	if _, err := Parse(make([]byte, 10*(MaxRecords+1))); err == nil {
		t.Error("more records than the limit were read")
	}
	if _, err := Encode(Record{Data: make([]byte, 1<<16)}); err == nil {
		t.Error("a field of 65536 bytes was written")
	}
}

func FuzzParse(f *testing.F) {
	seed, err := Encode(Wild(0, []byte("0123456789abcdef")), Record{FamilyLocal, []byte("me"), "1", Cookie, []byte("x")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Add([]byte{})
	f.Add([]byte{0xFF, 0xFF, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, file []byte) {
		records, err := Parse(file)
		again, encodeErr := Encode(records...)
		if encodeErr != nil {
			t.Fatalf("what was read cannot be written: %v", encodeErr)
		}
		if !bytes.HasPrefix(file, again) || err == nil && len(again) != len(file) {
			t.Fatalf("%x was read, and written as %x", file, again)
		}
		Choose(records, Server{Number: 0, Hostname: "me"})
	})
}
