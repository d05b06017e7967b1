package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
)

// An event is one line of go test -json (go doc test2json; for builds, go help
// buildjson).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output and build-fail
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string // of a package's fail: the ImportPath whose build failed
}

type testID struct{ pkg, test string }

// A summary counts tests; subtests count as tests of their own, their parents
// too only where they have a verdict of their own.
type summary struct {
	out     io.Writer
	passed  int
	failed  int
	skipped map[string][]string // reason → tests
	names   []string            // of what failed, in order
	ran     bool

	output  map[testID][]string // of tests that run, and of packages (test "")
	running map[testID]bool
	open    map[string]bool     // packages that began
	builds  map[string][]string // output of builds
	bad     map[string]int      // package → tests failed
	parent  map[testID]bool     // tests that have subtests
}

func newSummary(out io.Writer) *summary {
	return &summary{
		out: out, skipped: map[string][]string{},
		output: map[testID][]string{}, running: map[testID]bool{}, open: map[string]bool{},
		builds: map[string][]string{}, bad: map[string]int{}, parent: map[testID]bool{},
	}
}

// read takes the events of one go test -json to its end. What is no event is
// shown as it is.
func (s *summary) read(r io.Reader) {
	lines := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				s.take(e)
			} else {
				s.print(string(line))
			}
		}
		if err != nil {
			return
		}
	}
}

func (s *summary) take(e event) {
	id := testID{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		s.builds[e.ImportPath] = append(s.builds[e.ImportPath], e.Output)
	case "start":
		s.open[e.Package] = true
	case "run":
		s.running[id] = true
		for name := e.Test; strings.Contains(name, "/"); {
			name = name[:strings.LastIndex(name, "/")]
			s.parent[testID{e.Package, name}] = true
		}
	case "output":
		s.output[id] = append(s.output[id], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e)
		} else {
			s.endTest(e, id)
		}
	}
}

func (s *summary) endTest(e event, id testID) {
	delete(s.running, id)
	lines := s.output[id]
	delete(s.output, id)
	switch e.Action {
	case "pass":
		if !s.parent[id] { // its subtests are counted
			s.passed++
		}
		s.ran = true
	case "skip":
		reason := skipReason(lines)
		s.skipped[reason] = append(s.skipped[reason], e.Package+" "+e.Test)
		s.ran = true
	case "fail":
		s.bad[e.Package]++
		// A parent fails with its subtest: that is one failure, not two.
		if s.parent[id] && s.failedBelow(id) {
			return
		}
		s.fail(e.Package+" "+e.Test, lines)
	}
}

func (s *summary) failedBelow(id testID) bool {
	for _, name := range s.names {
		if strings.HasPrefix(name, id.pkg+" "+id.test+"/") {
			return true
		}
	}
	return false
}

// endPackage counts a failure that no test of the package accounts for: a build,
// a crash, an exit.
func (s *summary) endPackage(e event) {
	delete(s.open, e.Package)
	lines := s.output[testID{e.Package, ""}]
	delete(s.output, testID{e.Package, ""})
	if e.Action == "fail" {
		for id := range s.running {
			if id.pkg == e.Package && !s.parent[id] {
				s.fail(id.pkg+" "+id.test+" (did not end)", s.output[id])
				s.bad[e.Package]++
			}
		}
		if s.bad[e.Package] == 0 {
			if e.FailedBuild != "" {
				lines = append(s.builds[e.FailedBuild], lines...)
			}
			s.fail(e.Package, lines)
		}
	}
	for id := range s.running {
		if id.pkg == e.Package {
			delete(s.running, id)
			delete(s.output, id)
		}
	}
	if e.Action != "skip" { // a package without tests
		s.print(fmt.Sprintf("%-5s %s  %.1fs\n", e.Action, e.Package, e.Elapsed))
	}
}

// endOfStream counts the packages that began and of whose end nobody told.
func (s *summary) endOfStream() {
	for _, pkg := range sortedKeys(s.open) {
		s.fail(pkg+" (did not end)", s.output[testID{pkg, ""}])
	}
	clear(s.open)
	clear(s.running)
}

// step counts one thing that is no Go test.
func (s *summary) step(name string, err error, output string) {
	s.ran = true
	if err == nil {
		s.passed++
		return
	}
	s.fail(name, []string{output, "\n", err.Error(), "\n"})
}

func (s *summary) fail(name string, output []string) {
	s.failed++
	s.names = append(s.names, name)
	s.print("\nFAILED " + name + "\n" + strings.TrimRight(strings.Join(output, ""), "\n") + "\n\n")
}

// finish prints the reasons of what was skipped, the names of what failed, and
// the line that counts; it says whether all is well.
func (s *summary) finish() bool {
	if !s.ran && s.failed == 0 {
		s.fail("nothing ran", nil)
	}
	total := 0
	for _, reason := range sortedKeys(s.skipped) {
		tests := s.skipped[reason]
		total += len(tests)
		s.print(fmt.Sprintf("skipped, %d: %s (%s)\n", len(tests), reason, abbreviate(tests)))
	}
	for _, name := range s.names {
		s.print("failed: " + name + "\n")
	}
	s.print(fmt.Sprintf("%d passed, %d failed, %d skipped\n", s.passed, s.failed, total))
	return s.failed == 0
}

func (s *summary) print(text string) { io.WriteString(s.out, text) }

var (
	location = regexp.MustCompile(`^\s*\S+_test\.go:\d+: |^\s*\w+\.go:\d+: `)
	marker   = regexp.MustCompile(`^\s*(=== |--- )`)
)

// skipReason is what a skipped test said last.
func skipReason(lines []string) string {
	reason := ""
	for line := range strings.Lines(strings.Join(lines, "")) {
		line = strings.TrimRight(line, "\n")
		if !marker.MatchString(line) && strings.TrimSpace(line) != "" {
			reason = strings.TrimSpace(location.ReplaceAllString(line, ""))
		}
	}
	if reason == "" {
		return "no reason given"
	}
	return reason
}

func abbreviate(tests []string) string {
	const most = 3
	if len(tests) <= most {
		return strings.Join(tests, ", ")
	}
	return strings.Join(tests[:most], ", ") + ", …"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
