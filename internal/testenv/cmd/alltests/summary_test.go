package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

// module makes a Go module of the given files and works in it.
func module(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example.com/m\n\ngo 1.26\n"
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

const header = "package p\nimport (\"os\"; \"testing\")\nvar _ = os.Exit\n"

// The go command itself, with every way in which a package can end.
func TestRunOfRealPackages(t *testing.T) {
	module(t, map[string]string{
		"good/a_test.go": header + `
func TestOne(t *testing.T) {}
func TestParent(t *testing.T) { t.Run("a", func(t *testing.T) {}); t.Run("b", func(t *testing.T) { t.Skip("needs the moon") }) }
func TestSkipped(t *testing.T) { t.Log("first word"); t.Skip("needs the moon") }
func TestSilent(t *testing.T) { t.SkipNow() }
func FuzzSeeds(f *testing.F) { f.Add(1); f.Fuzz(func(t *testing.T, i int) {}) }`,
		"sub/a_test.go":    header + `func TestParent(t *testing.T) { t.Run("x", func(t *testing.T) { t.Error("told you so") }) }`,
		"build/a_test.go":  header + `func TestBuild(t *testing.T) { undefinedName() }`,
		"panics/a_test.go": header + `func TestGood(t *testing.T) {}; func TestPanics(t *testing.T) { panic("boo") }`,
		"exits/a_test.go":  header + `func TestExits(t *testing.T) { os.Exit(3) }`,
		"main/a_test.go":   header + `func TestMain(m *testing.M) { m.Run(); os.Exit(7) }; func TestFine(t *testing.T) {}`,
		"none/a.go":        "package none\n",
	})
	var out bytes.Buffer
	s := newSummary(&out)
	run(context.Background(), options{packages: []string{"./..."}}, s)
	if s.finish() {
		t.Error("failures, and all is said to be well")
	}
	// Passed: TestOne, TestParent/a, FuzzSeeds and its seed as one, TestGood,
	// TestFine. Failed: TestParent/x, the build, TestPanics, TestExits, the exit
	// of TestMain.
	if got, want := lastLine(out.String()), "5 passed, 5 failed, 3 skipped"; got != want {
		t.Errorf("%q, want %q in\n%s", got, want, &out)
	}
	for _, want := range []string{
		"skipped, 2: needs the moon (", "skipped, 1: no reason given (", "told you so", "undefined: undefinedName", "panic: boo",
		"FAILED example.com/m/exits TestExits", "failed: example.com/m/main\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}

func TestRunOfFuzzTargets(t *testing.T) {
	module(t, map[string]string{
		"p/a_test.go": header + `
func FuzzGood(f *testing.F) { f.Add(1); f.Fuzz(func(t *testing.T, i int) {}) }
func FuzzBad(f *testing.F) { f.Add(1); f.Fuzz(func(t *testing.T, i int) { if i != 1 { t.Error("only 1 is good") } }) }`,
	})
	var out bytes.Buffer
	s := newSummary(&out)
	run(context.Background(), options{onlyFuzz: true, fuzzTime: 500 * time.Millisecond, packages: []string{"./..."}}, s)
	s.finish()
	if got, want := lastLine(out.String()), "1 passed, 1 failed, 0 skipped"; got != want || !strings.Contains(out.String(), "only 1 is good") {
		t.Errorf("%q, want %q in\n%s", got, want, &out)
	}
}

func TestNothingRanIsFailure(t *testing.T) {
	for name, o := range map[string]options{
		"no tests":          {packages: []string{"./none"}},
		"no such package":   {packages: []string{"./missing"}},
		"no fuzz targets":   {packages: []string{"./none"}, onlyFuzz: true, fuzzTime: time.Second},
		"no package vetted": {packages: []string{"./missing"}, vet: true},
	} {
		t.Run(name, func(t *testing.T) {
			module(t, map[string]string{"none/a.go": "package none\n"})
			var out bytes.Buffer
			s := newSummary(&out)
			run(context.Background(), o, s)
			if s.finish() || !regexp.MustCompile(`^0 passed, [1-9]\d* failed, 0 skipped$`).MatchString(lastLine(out.String())) {
				t.Errorf("all is said to be well:\n%s", &out)
			}
		})
	}
}

// What the go command can not be made to do here: die in the middle.
func TestCutStream(t *testing.T) {
	for _, c := range []struct{ name, events, want string }{
		{"package", `{"Action":"start","Package":"p"}`, "0 passed, 1 failed, 0 skipped"},
		{"test", `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}`, "1 passed, 1 failed, 0 skipped"},
		{"process gone with its test", `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"fail","Package":"p"}`, "0 passed, 1 failed, 0 skipped"},
		{"no JSON at all", "hello\n", "0 passed, 1 failed, 0 skipped"},
		{"nothing", "", "0 passed, 1 failed, 0 skipped"},
	} {
		var out bytes.Buffer
		s := newSummary(&out)
		s.read(strings.NewReader(c.events))
		s.endOfStream()
		if well := s.finish(); well || lastLine(out.String()) != c.want {
			t.Errorf("%s: %q, want %q", c.name, lastLine(out.String()), c.want)
		}
	}
}

func TestShare(t *testing.T) {
	for _, c := range []struct {
		each, budget time.Duration
		n            int
		want         time.Duration
	}{
		{2 * time.Second, 2 * time.Minute, 25, 2 * time.Second},
		{2 * time.Second, 2 * time.Minute, 120, time.Second},
		{time.Minute, 0, 120, time.Minute},
		{2 * time.Second, time.Second, 100, 100 * time.Millisecond},
		{2 * time.Second, time.Second, 0, 2 * time.Second},
	} {
		if got := share(c.each, c.budget, c.n); got != c.want {
			t.Errorf("share(%v, %v, %d) = %v, want %v", c.each, c.budget, c.n, got, c.want)
		}
	}
}

func TestSkipReason(t *testing.T) {
	for lines, want := range map[string]string{
		"=== RUN   TestA\n    a_test.go:12: needs root\n--- SKIP: TestA (0.00s)\n": "needs root",
		"    require.go:25: needs the program nft\n":                               "needs the program nft",
		"--- SKIP: TestA (0.00s)\n":                                                "no reason given",
		"":                                                                         "no reason given",
	} {
		if got := skipReason([]string{lines}); got != want {
			t.Errorf("%q: %q, want %q", lines, got, want)
		}
	}
}

func TestFuzzVerdict(t *testing.T) {
	failure := errors.New("exit status 1")
	for _, c := range []struct {
		name string
		err  error
		out  string
		want error
	}{
		{"passed", nil, "fuzz: elapsed: 2s, execs: 9\nPASS\n", nil},
		{"the fuzzer's own deadline", failure, "--- FAIL: FuzzX (2.01s)\n    context deadline exceeded\nFAIL\n", nil},
		{"an input failed in the end", failure, "--- FAIL: FuzzX (2.01s)\n    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/1\n", failure},
		{"the target's own deadline", failure, "--- FAIL: FuzzX (2.01s)\n    --- FAIL: FuzzX (0.00s)\n        x_test.go:1: context deadline exceeded\n", failure},
		{"no build", failure, "x.go:1: context deadline exceeded\n", failure},
	} {
		if got := fuzzVerdict(c.err, c.out); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if err := fuzzVerdict(nil, "testing: warning: no fuzz tests to fuzz\nPASS\n"); err == nil {
		t.Error("nothing was fuzzed, and all is said to be well")
	}
}
