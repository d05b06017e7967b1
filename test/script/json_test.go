package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hutch-project/hutch/internal/config"
	"github.com/hutch-project/hutch/internal/doctor"
	"github.com/hutch-project/hutch/internal/version"
	"github.com/hutch-project/hutch/internal/workspace"
)

// schemaFile holds a table of fields for each kind of output.
const schemaFile = "../../docs/reference/json.md"

// kinds are the outputs, by the heading of their table, as the program has them.
var kinds = map[string]any{
	"ls":          []workspace.Summary{},
	"info":        workspace.Info{},
	"image ls":    []workspace.ImageSummary{},
	"config show": []config.Entry{},
	"doctor":      []doctor.Finding{},
	"version":     version.Info{},
}

// A schema says of every field, by its path, which types it may have.
type schema map[string][]string

// readSchemas reads the tables: | `path` | type or type | meaning |.
func readSchemas() (map[string]schema, error) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		return nil, err
	}
	all := map[string]schema{}
	var now schema
	heading := regexp.MustCompile("^## `hutch (.*) --format json`$")
	row := regexp.MustCompile("^\\| `([^`]+)` \\| ([a-z ]+) \\| (.+) \\|$")
	for number, line := range strings.Split(string(text), "\n") {
		if m := heading.FindStringSubmatch(line); m != nil {
			now = schema{}
			all[strings.ReplaceAll(m[1], " NAME", "")] = now
			continue
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil || now == nil {
			return nil, fmt.Errorf("%s:%d: not a row of a table: %s", schemaFile, number+1, line)
		}
		now[m[1]] = strings.Split(m[2], " or ")
	}
	return all, nil
}

// check says where a value is not what the schema has; path is its own.
func (s schema) check(path string, value any) error {
	var is string
	switch value.(type) {
	case nil:
		is = "null"
	case string:
		is = "string"
	case json.Number:
		is = "number"
	case bool:
		is = "boolean"
	case []any:
		is = "array"
	case map[string]any:
		is = "object"
	}
	if types, documented := s[path]; !documented {
		return fmt.Errorf("%s is not documented", path)
	} else if !slices.Contains(types, is) {
		return fmt.Errorf("%s is of type %s, documented is %s", path, is, strings.Join(types, " or "))
	}
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			if err := s.check(path+"[]", element); err != nil {
				return err
			}
		}
	case map[string]any:
		for key, field := range v {
			if err := s.check(join(path, key), field); err != nil {
				return err
			}
		}
		for documented, types := range s {
			field := documented[strings.LastIndex(documented, ".")+1:]
			if field == "" || strings.HasSuffix(field, "[]") || documented != join(path, field) || slices.Contains(types, "absent") {
				continue
			}
			if _, is := v[field]; !is {
				return fmt.Errorf("%s is documented and not there", documented)
			}
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "." {
		return key
	}
	return path + "." + key
}

// documented checks the output of the last command.
func documented(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: documented KIND")
	}
	kind := strings.Join(args, " ")
	schemas, err := readSchemas()
	ts.Check(err)
	s, is := schemas[kind]
	if !is {
		ts.Fatalf("%s: no table for %s", schemaFile, kind)
	}
	output := ts.ReadFile("stdout")
	var value any
	d := json.NewDecoder(strings.NewReader(output))
	d.UseNumber()
	ts.Check(d.Decode(&value))
	if d.More() {
		ts.Fatalf("more than one JSON value")
	}
	ts.Check(s.check(".", value))

	strict := json.NewDecoder(bytes.NewReader([]byte(output)))
	strict.DisallowUnknownFields()
	ts.Check(strict.Decode(reflect.New(reflect.TypeOf(kinds[kind])).Interface()))
}

// TestSchema sees to it that the tables have every field that there is, also
// those that no story happens to show, and no other.
func TestSchema(t *testing.T) {
	schemas, err := readSchemas()
	if err != nil {
		t.Fatal(err)
	}
	for kind, example := range kinds {
		have := map[string]bool{}
		fields(have, ".", reflect.TypeOf(example))
		for path := range have {
			if _, is := schemas[kind][path]; !is {
				t.Errorf("%s: %s of 'hutch %s' is not in the table", schemaFile, path, kind)
			}
		}
		for path := range schemas[kind] {
			if !have[path] {
				t.Errorf("%s: %s of 'hutch %s' is in the table, the program has none", schemaFile, path, kind)
			}
		}
		delete(schemas, kind)
	}
	for kind := range schemas {
		t.Errorf("%s: nothing is known of 'hutch %s'", schemaFile, kind)
	}
}

// fields lists the paths of a type's JSON.
func fields(have map[string]bool, path string, t reflect.Type) {
	have[path] = true
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, isText := reflect.New(t).Interface().(interface{ MarshalText() ([]byte, error) }); isText {
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		fields(have, path+"[]", t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "":
				fields(have, path, f.Type)
			case name != "" && name != "-":
				fields(have, join(path, name), f.Type)
			}
		}
	}
}
