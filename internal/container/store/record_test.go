package store

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/container"
)

func good() container.Record {
	return container.Record{Schema: 1, Name: "ff", ID: strings.Repeat("0a", 16), Image: container.Image{Layers: []string{"sha256:x"}}}
}

func TestCheckRecord(t *testing.T) {
	if err := checkRecord(good(), "ff"); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*container.Record){
		"newer":          func(r *container.Record) { r.Schema = container.Schema + 1 },
		"no schema":      func(r *container.Record) { r.Schema = 0 },
		"negative":       func(r *container.Record) { r.Schema = -1 },
		"another name":   func(r *container.Record) { r.Name = "gg" },
		"escape in name": func(r *container.Record) { r.Name = "\x1b[2J" },
		"short id":       func(r *container.Record) { r.ID = "0a" },
		"id with a path": func(r *container.Record) { r.ID = "../../../../../../../../../etc/ab" },
		"upper case id":  func(r *container.Record) { r.ID = strings.Repeat("0A", 16) },
		"newline in id":  func(r *container.Record) { r.ID = strings.Repeat("0", 31) + "\n" },
		"no layers":      func(r *container.Record) { r.Image.Layers = nil },
	} {
		r := good()
		spoil(&r)
		if err := checkRecord(r, "ff"); err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("%s: the error is not fit for a terminal: %q", name, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	data, err := json.Marshal(good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"schema":1,"name":"ff","id":"` + strings.Repeat("f", 32) + `","image":{"layers":[""]}}`))
	f.Add([]byte(`{"schema":1e400}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r container.Record
		if json.Unmarshal(data, &r) != nil || checkRecord(r, "ff") != nil {
			return
		}
		if r.Name != "ff" || len(r.ID) != 32 || strings.ContainsAny(r.ID, "/.\n") || len(r.Image.Layers) == 0 {
			t.Errorf("taken: %+v", r)
		}
	})
}
