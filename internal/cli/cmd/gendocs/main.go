// Gendocs writes hutch's papers from what the program itself knows: man pages from
// the verbs and their options, hutch.toml(5) from the reference configuration, and
// the completions of the shells. What it writes is the same every time, so that a
// test can tell papers that are out of date.
//
//	gendocs -man docs/man -completions docs/completions
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	man := flag.String("man", "", "write the man pages into this folder")
	completions := flag.String("completions", "", "write the completions into this folder")
	flag.Parse()
	if flag.NArg() > 0 || *man == "" && *completions == "" {
		fmt.Fprintln(os.Stderr, "usage: gendocs [-man FOLDER] [-completions FOLDER]")
		os.Exit(2)
	}
	if err := errors.Join(fill(*man, manPages), fill(*completions, completionScripts)); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

// fill makes a folder hold these files and nothing else; an empty name is none.
func fill(dir string, files func() (map[string][]byte, error)) error {
	if dir == "" {
		return nil
	}
	wanted, err := files()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, stays := wanted[e.Name()]; !stays {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for name, text := range wanted {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
