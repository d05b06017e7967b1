package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/cli"
	"github.com/hutch-project/hutch/internal/config"
)

const docs = "../../../../docs"

// The papers in docs are what the program would write now.
func TestPapersAreFresh(t *testing.T) {
	for _, p := range []struct {
		dir, mend string
		files     func() (map[string][]byte, error)
	}{
		{"man", "make man", manPages},
		{"completions", "make completions", completionScripts},
	} {
		wanted, err := p.files()
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(docs, p.dir)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatalf("%v; run '%s'", err, p.mend)
		}
		for _, e := range entries {
			if wanted[e.Name()] == nil {
				t.Errorf("%s/%s belongs to nothing; run '%s'", dir, e.Name(), p.mend)
			}
		}
		for name, text := range wanted {
			if there, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(there, text) {
				t.Errorf("%s/%s is out of date (%v); run '%s'", dir, name, err, p.mend)
			}
		}
	}
}

// fill takes away what belongs to a verb that is no more.
func TestFill(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hutch-gone.1"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	files := func() (map[string][]byte, error) { return map[string][]byte{"hutch.1": []byte("new")}, nil }
	for range 2 {
		if err := fill(dir, files); err != nil {
			t.Fatal(err)
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || !slices.Equal(found, []string{filepath.Join(dir, "hutch.1")}) {
		t.Errorf("got %q, %v", found, err)
	}
}

// Every verb has a page, and it names the verb's options.
func TestEveryVerbHasAPage(t *testing.T) {
	pages, err := manPages()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cli.Root().Commands() {
		page := string(pages["hutch-"+c.Name()+".1"])
		if !strings.Contains(page, c.Short) {
			t.Errorf("hutch-%s.1 does not say %q", c.Name(), c.Short)
		}
	}
}

// Every key of the reference stands in hutch.toml(5).
func TestEverySettingIsOnItsPage(t *testing.T) {
	pages, err := manPages()
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(pages["hutch.toml.5"]), `\-`, "-")
	keys := regexp.MustCompile(`(?m)^#?([a-z-]+) = `).FindAllStringSubmatch(string(config.Reference), -1)
	if len(keys) == 0 {
		t.Fatal("no key found in the reference")
	}
	for _, key := range keys {
		if !strings.Contains(page, key[1]+" = ") {
			t.Errorf("the key %s is not on the page", key[1])
		}
	}
}

// hutchd(8) is written by hand: its options are those of the program.
func TestHutchdsOptionsAreOnItsPage(t *testing.T) {
	help, _ := exec.Command("go", "run", "../../../../cmd/hutchd", "-h").CombinedOutput() // its status is that of a question for help
	var has, documented []string
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(string(help), -1) {
		has = append(has, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^\*\*--([a-z-]+)\*\*`).FindAllStringSubmatch(string(hutchd), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(has)
	slices.Sort(documented)
	if len(has) == 0 || !slices.Equal(has, documented) {
		t.Errorf("hutchd has the options %q, its page %q:\n%s", has, documented, help)
	}
}
