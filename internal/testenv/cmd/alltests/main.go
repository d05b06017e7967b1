package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

type options struct {
	vet        bool
	onlyFuzz   bool
	fuzzTime   time.Duration // for each target; 0 means no fuzzing beyond the seeds
	fuzzBudget time.Duration // for all targets together; 0 means no bound
	testFlags  []string
	packages   []string
}

func main() {
	var o options
	var testFlags string
	flag.BoolVar(&o.vet, "vet", false, "run go vet first; what it finds counts as one failed")
	flag.BoolVar(&o.onlyFuzz, "onlyfuzz", false, "run the fuzz targets alone")
	flag.DurationVar(&o.fuzzTime, "fuzztime", 0, "how long to fuzz each target")
	flag.DurationVar(&o.fuzzBudget, "fuzzbudget", 0, "how long to fuzz all targets together at most")
	flag.StringVar(&testFlags, "testflags", "", "more flags for go test, separated by spaces")
	flag.Parse()
	o.testFlags = strings.Fields(testFlags)
	if o.packages = flag.Args(); len(o.packages) == 0 {
		fmt.Fprintln(os.Stderr, "alltests: name the packages, for instance ./...")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newSummary(os.Stdout)
	run(ctx, o, s)
	if !s.finish() {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, s *summary) {
	if o.vet {
		out, err := goCommand(ctx, append([]string{"vet"}, o.packages...)...).CombinedOutput()
		s.step("go vet", err, string(out))
	}
	if !o.onlyFuzz {
		flags := append([]string{"test", "-json", "-timeout=15m"}, o.testFlags...)
		runTests(ctx, s, "go test", append(flags, o.packages...)...)
	}
	if o.fuzzTime > 0 {
		fuzz(ctx, o, s)
	}
	if ctx.Err() != nil {
		s.step("the run", errors.New("interrupted"), "")
	}
}

// runTests feeds the events of one go test -json to the summary. The command's
// own failure counts where no event told of one.
func runTests(ctx context.Context, s *summary, name string, args ...string) {
	var stderr bytes.Buffer
	cmd := goCommand(ctx, args...)
	cmd.Stderr = &stderr
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.step(name, err, "")
		return
	}
	before := s.failed
	s.read(events)
	// What read left is not to block the command.
	io.Copy(io.Discard, events)
	err = cmd.Wait()
	s.endOfStream()
	if err != nil && s.failed == before {
		s.step(name, err, stderr.String())
	} else if stderr.Len() > 0 {
		s.print(stderr.String())
	}
}

// A target is one fuzz function.
type target struct{ pkg, name string }

// fuzz runs the fuzz targets one after the other, each for its share of the
// time. Two workers: a desktop's cores belong to its person too.
func fuzz(ctx context.Context, o options, s *summary) {
	targets, err := fuzzTargets(ctx, o.packages)
	if err != nil {
		s.step("list the fuzz targets", err, "")
		return
	}
	each := share(o.fuzzTime, o.fuzzBudget, len(targets))
	for _, t := range targets {
		if ctx.Err() != nil {
			return
		}
		start := time.Now()
		// A fuzz target whose inputs are slow would hold up the rest: go's own
		// -fuzztime does not count the time to build and to run the seeds.
		bounded, cancel := context.WithTimeout(ctx, each+3*time.Minute)
		out, err := goCommand(bounded, "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(),
			"-fuzzminimizetime=5s", "-parallel=2", "-timeout="+(each+2*time.Minute).String(), t.pkg).CombinedOutput()
		cancel()
		s.print(fmt.Sprintf("fuzz  %s %s  %.1fs\n", t.pkg, t.name, time.Since(start).Seconds()))
		s.step(t.pkg+" "+t.name+" (fuzzing)", fuzzVerdict(err, string(out)), string(out))
	}
}

// deadline is how the go command's fuzzer reports its own end as a failure when
// it loses a race with itself (go.dev/issue/75804, mended in Go 1.27).
var deadline = regexp.MustCompile(`(?m)^--- FAIL: Fuzz\w+ \(.*\)\n    context deadline exceeded$`)

// fuzzVerdict leaves the failure out that is none, as no input failed, and finds
// the one that the go command takes for none: that nothing was fuzzed.
func fuzzVerdict(err error, out string) error {
	if err == nil && !strings.Contains(out, "fuzz: elapsed: ") {
		return errors.New("nothing was fuzzed")
	}
	if err != nil && deadline.MatchString(out) && !strings.Contains(out, "Failing input written") {
		return nil
	}
	return err
}

// share is the time for each of n targets.
func share(each, budget time.Duration, n int) time.Duration {
	if n == 0 || budget <= 0 {
		return each
	}
	return min(each, max(budget/time.Duration(n), 100*time.Millisecond))
}

// fuzzTargets reads the targets from the packages' test files: go test -list
// would link a program for each package.
func fuzzTargets(ctx context.Context, packages []string) ([]target, error) {
	const format = `{{$p := .}}{{range .TestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}` +
		`{{range .XTestGoFiles}}{{$p.ImportPath}} {{$p.Dir}}/{{.}}{{"\n"}}{{end}}`
	cmd := goCommand(ctx, append([]string{"list", "-e", "-f", format}, packages...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var targets []target
	for line := range strings.Lines(string(out)) {
		pkg, file, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range syntax.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				targets = append(targets, target{pkg, f.Name.Name})
			}
		}
	}
	return targets, nil
}

// goCommand is ended together with its children's pipes when ctx is.
func goCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}
