package house

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// A pkg is what go list says of one package.
type pkg struct {
	ImportPath string
	Dir        string
	Name       string
	Doc        string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

// goList lists packages as the supervisor is built, with all that is ever built.
func goList(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-tags", "seccomp", "-json=ImportPath,Dir,Name,Doc,GoFiles,CgoFiles,Imports"}, args...)...)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, &stderr)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// below says whether path is one of the trees or lies below one.
func below(path string, trees []string) bool {
	path = strings.TrimPrefix(path, module)
	return slices.ContainsFunc(trees, func(tree string) bool {
		tree = strings.TrimPrefix(tree, module)
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}

func checkImports(p pkg, rules []importRule) (violations []string) {
	for _, r := range rules {
		if !below(p.ImportPath, r.from) || below(p.ImportPath, r.except) {
			continue
		}
		for _, i := range p.Imports {
			if below(i, r.deny) && !below(i, r.allow) {
				violations = append(violations, fmt.Sprintf("%s imports %s (%s): %s", p.ImportPath, i, r.name, r.why))
			}
		}
	}
	return violations
}

func TestImports(t *testing.T) {
	packages := goList(t, "./...")
	if len(packages) < 5 {
		t.Fatalf("only %d packages are seen", len(packages))
	}
	for _, p := range packages {
		for _, v := range checkImports(p, importRules) {
			t.Error(v)
		}
	}
}

// The rules see what they are for.
func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		from, to string
		rule     string // "" for allowed
	}{
		{"internal/undo", "internal/container", "ground-floor"},
		{"internal/config", "internal/paths", ""},
		{"internal/container/runtime", "internal/network/api", "wing-container"},
		{"internal/container/runtime", "internal/sys", ""},
		{"internal/container/store", "internal/container", ""},
		{"internal/containerd", "internal/image", ""}, // another word that begins alike
		{"internal/image/bootstrap", "internal/container", "wing-image"},
		{"internal/network/netd", "internal/network/firewall", ""},
		{"internal/network/netd", "internal/desktop/display", "wing-network"},
		{"internal/network/api", "internal/network/netd", "network-api"},
		{"internal/desktop/display", "internal/image", "wing-desktop"},
		{"internal/workspace", "internal/network/api", ""},
		{"internal/workspace", "internal/network/dns", "workspace"},
		{"internal/cli", "internal/workspace", ""},
		{"internal/cli", "internal/network", "cli"},
		{"cmd/hutchd", "internal/network/netd", ""},
		{"cmd/hutch", "internal/network/netd", "cli"},
		{"cmd/hutch-supervisor", "internal/network/api", ""},
		{"internal/cli", "internal/testenv", "testenv"},
		{"internal/testenv/cmd/alltests", "internal/testenv", ""},
		{"internal/workspace", "github.com/opencontainers/runc/libcontainer", "library-runtime"},
		{"internal/container/runtime", "github.com/opencontainers/runc/libcontainer", ""},
		{"internal/desktop/display", "github.com/miekg/dns", "library-network"},
		{"internal/workspace", "github.com/spf13/cobra", "library-cli"},
	} {
		got := checkImports(pkg{ImportPath: module + c.from, Imports: []string{c.to}}, importRules)
		switch {
		case c.rule == "" && len(got) > 0:
			t.Errorf("%s may import %s, but: %v", c.from, c.to, got)
		case c.rule != "" && (len(got) != 1 || !strings.Contains(got[0], "("+c.rule+")")):
			t.Errorf("%s importing %s: %v, want a violation of %s", c.from, c.to, got, c.rule)
		}
	}
}

func TestLinked(t *testing.T) {
	for _, r := range linkRules {
		if _, err := os.Stat(filepath.Join(root, r.program)); errors.Is(err, os.ErrNotExist) {
			continue
		}
		deps := goList(t, "-deps", "./"+r.program)
		by := map[string]string{} // package → one that imports it
		for _, p := range deps {
			for _, i := range p.Imports {
				by[i] = p.ImportPath
			}
		}
		for _, p := range deps {
			if below(p.ImportPath, r.deny) {
				t.Errorf("%s is linked with %s (by %s): %s", r.program, p.ImportPath, by[p.ImportPath], r.why)
			}
		}
	}
}

func checkCalls(rel string, file *ast.File, fset *token.FileSet, list []forbidden) (violations []string) {
	excused := map[int]bool{}
	for _, group := range file.Comments {
		for _, c := range group.List {
			_, reason, ok := strings.Cut(c.Text, "nolint:forbidigo // ")
			if ok && strings.TrimSpace(reason) != "" {
				excused[fset.Position(c.Pos()).Line] = true
			}
		}
	}
	add := func(pos token.Pos, what, why string) {
		if at := fset.Position(pos); !excused[at.Line] {
			violations = append(violations, fmt.Sprintf("%s:%d: %s: %s", at.Filename, at.Line, what, why))
		}
	}
	local := map[string]string{} // name in the file → import path
	for _, i := range file.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if i.Name != nil {
			name = i.Name.Name
		}
		local[name] = path
		for _, f := range list {
			if f.name == "" && f.pkg == path && !below(rel, f.except) {
				add(i.Pos(), "import of "+path, f.why)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || x.Obj != nil {
				return true
			}
			for _, f := range list {
				if f.name == n.Sel.Name && local[x.Name] == f.pkg && !below(rel, f.except) {
					add(n.Pos(), x.Name+"."+f.name, f.why)
				}
			}
		case *ast.CallExpr:
			if runsShell(n, local) && !below(rel, []string{"test", "internal/testenv"}) {
				add(n.Pos(), "a shell", "what comes from outside becomes a command of its own (CVE-2014-6271, CWE-78); give the program its arguments as they are")
			}
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil && !below(rel, []string{"internal/container/runtime", "cmd/hutch-supervisor"}) {
				add(n.Pos(), "func init", "runs in every program that links the package, in no order one sees; only the runtime's re-exec needs one")
			}
		}
		return true
	})
	return violations
}

var shells = []string{`"sh"`, `"bash"`, `"dash"`, `"/bin/sh"`, `"/bin/bash"`, `"/bin/dash"`}

// runsShell recognises exec.Command and exec.CommandContext of a shell with -c.
func runsShell(call *ast.CallExpr, local map[string]string) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok || local[x.Name] != "os/exec" || !strings.HasPrefix(sel.Sel.Name, "Command") {
		return false
	}
	shell := false
	for _, arg := range call.Args {
		lit, ok := arg.(*ast.BasicLit)
		if !ok {
			continue
		}
		if shell && strings.HasPrefix(lit.Value, `"-`) && strings.Contains(lit.Value, "c") {
			return true
		}
		shell = shell || slices.Contains(shells, lit.Value)
	}
	return false
}

func TestForbiddenCalls(t *testing.T) {
	for _, p := range goList(t, "./...") {
		rel := strings.TrimPrefix(p.ImportPath, module)
		for _, name := range append(p.GoFiles, p.CgoFiles...) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range checkCalls(rel, file, fset, forbiddenCalls) {
				t.Error(strings.TrimPrefix(v, filepath.Dir(p.Dir)))
			}
		}
	}
}

func TestForbiddenCallsAreSeen(t *testing.T) {
	for _, c := range []struct {
		rel, source string
		want        int
	}{
		{"internal/image", `import "path/filepath"; var _, _ = filepath.EvalSymlinks("/")`, 1},
		{"internal/image", `import fp "path/filepath"; var _, _ = fp.EvalSymlinks("/")`, 1},
		{"internal/image", `import "path/filepath"; var _, _ = filepath.Abs("/")`, 0},
		{"internal/image", "import \"path/filepath\"\nvar _, _ = filepath.EvalSymlinks(\"/\") //nolint:forbidigo // our own folder", 0},
		{"internal/image", "import \"path/filepath\"\nvar _, _ = filepath.EvalSymlinks(\"/\") //nolint:forbidigo", 1}, // no reason
		{"internal/image", `import "math/rand"; var _ = rand.Int()`, 1},
		{"internal/image", `import "os"; func f() { os.Exit(1) }`, 1},
		{"cmd/hutch", `import "os"; func f() { os.Exit(1) }`, 0},
		{"internal/image", `import "os/exec"; var _ = exec.Command("sh", "-c", "true")`, 1},
		{"internal/image", `import "os/exec"; var _ = exec.CommandContext(nil, "/bin/bash", "-ec", "true")`, 1},
		{"internal/image", `import "os/exec"; var _ = exec.Command("sh", "script")`, 0},
		{"internal/image", `import "os/exec"; var _ = exec.Command("tar", "-c", "sh")`, 0},
		{"internal/image", `func init() {}`, 1},
		{"internal/container/runtime", `func init() {}`, 0},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x\n"+c.source, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if got := checkCalls(c.rel, file, fset, forbiddenCalls); len(got) != c.want {
			t.Errorf("%s in %s: %v, want %d", c.source, c.rel, got, c.want)
		}
	}
}

// Every room has a sign at its door, every program says what it is.
func TestDoorSigns(t *testing.T) {
	for _, p := range goList(t, "./...") {
		if len(p.GoFiles)+len(p.CgoFiles) == 0 {
			t.Errorf("%s: holds tests alone; add a doc.go", p.ImportPath)
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s: no door sign: a comment that says what the package is for", p.ImportPath)
		}
		if p.Name != "main" && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s: the door sign stands in doc.go, where everybody looks for it", p.ImportPath)
		}
		if name := filepath.Base(p.Dir); slices.Contains([]string{"util", "utils", "common", "helpers", "misc"}, name) {
			t.Errorf("%s: a room called %s holds everything and nothing", p.ImportPath, name)
		}
	}
}

var update = flag.Bool("update", false, "write .golangci.yml from the rules")

func TestGolangciIsFresh(t *testing.T) {
	file := filepath.Join(root, ".golangci.yml")
	want := golangci()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error(".golangci.yml is not what the rules say; go test ./internal/house -update")
	}
}

// golangci writes the configuration of golangci-lint (v2): depguard and forbidigo
// from the rules above, and linters that found real bugs elsewhere.
func golangci() string {
	var b strings.Builder
	b.WriteString(`# Written from internal/house/rules_test.go by: go test ./internal/house -update
# make lint holds the same rules without golangci-lint.
version: "2"
linters:
  default: standard
  enable:
    - bodyclose
    - depguard
    - errorlint
    - forbidigo
    - nolintlint
    - unconvert
  settings:
    nolintlint:
      require-explanation: true
      require-specific: true
    depguard:
      rules:
`)
	for _, r := range importRules {
		fmt.Fprintf(&b, "        %s:\n          list-mode: lax\n          files:\n", r.name)
		for _, f := range r.from {
			fmt.Fprintf(&b, "            - %q\n", "**/"+f+"/**/*.go")
		}
		for _, f := range r.except {
			fmt.Fprintf(&b, "            - %q\n", "!**/"+f+"/**/*.go")
		}
		b.WriteString("            - \"!$test\"\n")
		if len(r.allow) > 0 {
			b.WriteString("          allow:\n")
			for _, a := range r.allow {
				fmt.Fprintf(&b, "            - %s\n", full(a))
			}
		}
		b.WriteString("          deny:\n")
		for _, d := range r.deny {
			fmt.Fprintf(&b, "            - pkg: %s\n              desc: %q\n", full(d), r.why)
		}
	}
	b.WriteString("    forbidigo:\n      forbid:\n")
	for _, f := range forbiddenCalls {
		if f.name == "" {
			continue
		}
		fmt.Fprintf(&b, "        - pattern: '^%s\\.%s$'\n          msg: %q\n", f.pkg[strings.LastIndex(f.pkg, "/")+1:], f.name, f.why)
	}
	b.WriteString("  exclusions:\n    rules:\n      - path: _test\\.go\n        linters: [forbidigo, errcheck]\n")
	for _, f := range forbiddenCalls {
		for _, e := range f.except {
			if f.name != "" {
				fmt.Fprintf(&b, "      - path: ^%s/\n        linters: [forbidigo]\n        text: '%s\\.%s'\n", e, f.pkg[strings.LastIndex(f.pkg, "/")+1:], f.name)
			}
		}
	}
	b.WriteString("formatters:\n  enable: [gofmt]\n")
	return b.String()
}

func full(path string) string {
	if strings.HasPrefix(path, "internal") || strings.HasPrefix(path, "cmd") || strings.HasPrefix(path, "test") {
		return module + path
	}
	return path
}
