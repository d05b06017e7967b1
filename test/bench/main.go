package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hutch-project/hutch/internal/ui"
)

type options struct {
	bin    string
	rounds int
	counts []int
	only   string
	tree   string
	write  string
	dir    string // set in the world alone
}

func main() {
	var o options
	var counts string
	var write bool
	flag.StringVar(&o.bin, "bin", "bin", "the folder of hutch's programs")
	flag.IntVar(&o.rounds, "rounds", 100, "rounds of what takes milliseconds; what takes longer has a fifth")
	flag.StringVar(&counts, "counts", "1,10,50", "how many containers run when ls and exec are measured")
	flag.StringVar(&o.only, "only", "", "measure one side alone: hutch or lxc")
	flag.StringVar(&o.tree, "tree", "", "tar archive of LXC's root filesystem; else that of hutch's container is taken")
	flag.BoolVar(&write, "write", false, "put the table into docs/performance.md")
	flag.StringVar(&o.dir, "inside", "", "for this program alone: the folder of this run")
	flag.Parse()
	if write {
		o.write = "docs/performance.md"
	}
	if err := o.check(counts); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	status, err := 0, error(nil)
	if o.dir == "" {
		status, err = outside(o)
	} else {
		err = inside(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		status = 1
	}
	os.Exit(status)
}

func (o *options) check(counts string) error {
	for field := range strings.SplitSeq(counts, ",") {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 || n > 200 || len(o.counts) > 0 && n <= o.counts[len(o.counts)-1] {
			return fmt.Errorf("-counts %s: numbers from 1 to 200, growing", counts)
		}
		o.counts = append(o.counts, n)
	}
	switch {
	case os.Geteuid() != 0:
		return errors.New("needs root: it makes containers")
	case o.only != "" && o.only != "hutch" && o.only != "lxc":
		return fmt.Errorf("-only %s: hutch or lxc", o.only)
	case o.only == "lxc" && o.tree == "":
		return errors.New("-only lxc needs -tree")
	}
	var err error
	o.bin, err = filepath.Abs(o.bin)
	return err
}

// outside makes what needs the Internet, hutch's image, then enters the world.
func outside(o options) (status int, err error) {
	dir, err := os.MkdirTemp("", "hutch-bench-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // container root passes through
		return 0, err
	}
	if o.only != "lxc" {
		h, err := newHutch(o.bin, filepath.Join(dir, "hutch"))
		if err != nil {
			return 0, err
		}
		fmt.Fprintln(os.Stderr, "make the image", image)
		if err := h.create("tree"); err != nil {
			return 0, err
		}
	}
	return enter(append([]string{"-inside", dir}, os.Args[1:]...))
}

func inside(o options) (err error) {
	w, err := newWorld(o.dir)
	if err != nil {
		return err
	}
	defer w.removeCgroups()
	var h *hutch
	var l *lxc
	if o.only != "lxc" {
		if h, err = newHutch(o.bin, filepath.Join(o.dir, "hutch")); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, h.cleanup()) }()
		if o.tree == "" && o.only == "" {
			o.tree = filepath.Join(o.dir, "tree.tar")
			if err := errors.Join(h.start("tree"), h.tree("tree", o.tree)); err != nil {
				return err
			}
		}
		if err := h.rm("tree"); err != nil {
			return err
		}
	}
	if o.only != "hutch" {
		if l, err = newLXC(w, o.tree); err != nil {
			return err
		}
		defer l.sweep()
	}
	results, extra, err := compare(o, h, l)
	if err != nil {
		return err
	}
	printTable(results, extra)
	if o.write != "" {
		return renew(o.write, markdown(results, extra, time.Now()))
	}
	return nil
}

// A manager is what both sides can do.
type manager interface {
	create(name string) error
	start(name string) error
	stop(name string) error
	kill(name string) error
	rm(name string) error
	ls() error
	exec(name string) error
}

// both returns the comparison's sides, nil for the one that is not measured.
func both(h *hutch, l *lxc, f func(r manager) *side) (ours, theirs *side) {
	if h != nil {
		ours = f(h)
	}
	if l != nil {
		theirs = f(l)
	}
	return ours, theirs
}

// compare measures everything, first alone, then among more and more containers.
func compare(o options, h *hutch, l *lxc) (results []result, extra [][2]string, err error) {
	var all []string // containers that run
	defer func() {
		for _, name := range all {
			err = errors.Join(err, eachSide(h, l, func(r manager) error { return r.rm(name) }))
		}
	}()
	add := func(c comparison, f func(r manager) *side) error {
		c.hutch, c.lxc = both(h, l, f)
		fmt.Fprintf(os.Stderr, "%s, %d rounds\n", c.name, c.rounds)
		r, err := measure(c, time.Now)
		results = append(results, r)
		return err
	}
	fresh := func(name string) error {
		if h != nil {
			if err := h.create(name); err != nil {
				return err
			}
		}
		if l != nil {
			return l.make(name)
		}
		return nil
	}

	slow := max(1, o.rounds/5)
	if err := add(comparison{name: "create from a stored image", rounds: slow, most: 20 * time.Millisecond}, func(r manager) *side {
		return &side{run: func(int) error { return r.create("fresh") }, after: func(int) error { return r.rm("fresh") }}
	}); err != nil {
		return nil, nil, err
	}
	if err := fresh("cycle"); err != nil {
		return nil, nil, err
	}
	if err := add(comparison{name: "start to init", rounds: slow, reach: 1.5}, func(r manager) *side {
		return &side{run: func(int) error { return r.start("cycle") }, after: func(int) error { return r.kill("cycle") }}
	}); err != nil {
		return nil, nil, err
	}
	if err := add(comparison{name: "stop", rounds: slow}, func(r manager) *side {
		return &side{before: func(int) error { return r.start("cycle") }, run: func(int) error { return r.stop("cycle") }}
	}); err != nil {
		return nil, nil, err
	}
	if err := eachSide(h, l, func(r manager) error { return r.rm("cycle") }); err != nil {
		return nil, nil, err
	}

	var execs []result
	for _, count := range o.counts {
		for len(all) < count {
			name := fmt.Sprintf("c%d", len(all))
			if err := fresh(name); err != nil {
				return nil, nil, err
			}
			all = append(all, name)
			if err := eachSide(h, l, func(r manager) error { return r.start(name) }); err != nil {
				return nil, nil, err
			}
		}
		c := comparison{name: fmt.Sprintf("exec, %d running", count), rounds: o.rounds, reach: 0.5}
		if err := add(c, func(r manager) *side {
			return &side{run: func(int) error { return r.exec("c0") }}
		}); err != nil {
			return nil, nil, err
		}
		execs = append(execs, results[len(results)-1])
		c = comparison{name: fmt.Sprintf("ls, %d running", count), rounds: slow, reach: 1}
		if err := add(c, func(r manager) *side { return &side{run: func(int) error { return r.ls() }} }); err != nil {
			return nil, nil, err
		}
	}
	return results, append(growth(execs), memories(o, h, l)...), nil
}

func eachSide(h *hutch, l *lxc, f func(r manager) error) error {
	var errs []error
	if h != nil {
		errs = append(errs, f(h))
	}
	if l != nil {
		errs = append(errs, f(l))
	}
	return errors.Join(errs...)
}

// growth compares exec among many containers with exec among few.
func growth(execs []result) (lines [][2]string) {
	if len(execs) < 2 {
		return nil
	}
	first, last := execs[0], execs[len(execs)-1]
	grown := func(name string, few, many []time.Duration) {
		if len(few) > 0 && len(many) > 0 {
			lines = append(lines, [2]string{name + ", " + last.name + " ÷ " + first.name, fmt.Sprintf("%.2f", float64(median(many))/float64(median(few)))})
		}
	}
	grown("hutch", first.hutchTimes, last.hutchTimes)
	grown("LXC", first.lxcTimes, last.lxcTimes)
	return lines
}

// memories sums up the memory of the processes that keep containers.
func memories(o options, h *hutch, l *lxc) (lines [][2]string) {
	var names []string
	if h != nil {
		names = append(names, "hutch-supervisor", "hutch-agent", "hutchd")
	}
	if l != nil {
		names = append(names, "lxc-start")
	}
	for _, program := range names {
		sizes := memory(program, o.dir)
		var sum uint64
		for _, s := range sizes {
			sum += s
		}
		if len(sizes) > 0 {
			lines = append(lines, [2]string{"memory of " + program, fmt.Sprintf("%s each, %d of them (proportional set size)", ui.Bytes(sum/uint64(len(sizes))), len(sizes))})
		}
	}
	return lines
}
