package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/ui"
	"github.com/hutch-project/hutch/internal/version"
)

var titles = []string{"", "rounds", "hutch", "p95", "LXC", "p95", "ratio", "promise"}

// printTable writes the results for the terminal.
func printTable(results []result, extra [][2]string) {
	columns := make([]ui.Column, len(titles))
	for i, t := range titles {
		columns[i] = ui.Column{Title: t, Right: i > 0 && i < len(titles)-1, Whole: true}
	}
	table := ui.NewTable(columns...)
	for _, r := range results {
		table.Row(r.cells()...)
	}
	table.Write(os.Stdout, 0)
	for _, e := range extra {
		fmt.Printf("%s: %s\n", e[0], e[1])
	}
}

// markdown writes the same for docs/performance.md.
func markdown(results []result, extra [][2]string, when time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s: %s; %s.\n\n", when.Format("2 January 2006"), machine(), version.Get())
	b.WriteString("| " + strings.Join(titles, " | ") + " |\n|---|--:|--:|--:|--:|--:|--:|---|\n")
	for _, r := range results {
		b.WriteString("| " + strings.Join(r.cells(), " | ") + " |\n")
	}
	b.WriteString("\n")
	for _, e := range extra {
		fmt.Fprintf(&b, "- %s: %s\n", e[0], e[1])
	}
	return b.String()
}

// machine says in a few words what was measured on.
func machine() string {
	cpu := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	unix.Uname(&u)
	return fmt.Sprintf("%d × %s, Linux %s", runtime.NumCPU(), ui.Escape(cpu), unix.ByteSliceToString(u.Release[:]))
}

const (
	begin = "<!-- make bench writes from here -->"
	end   = "<!-- to here -->"
)

// renew puts the text between the markers of the page.
func renew(file, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	with, err := replace(string(page), text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return atomicfile.Write(file, []byte(with), 0o644)
}

func replace(page, text string) (string, error) {
	head, rest, ok := strings.Cut(page, begin+"\n")
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", errors.New("the marks that the table stands between are gone")
	}
	return head + begin + "\n" + text + end + tail, nil
}
