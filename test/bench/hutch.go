package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const image = "debian/bookworm"

// hutch drives bin/hutch by its command line, with a root of its own.
type hutch struct {
	program string
	root    string // HUTCH_ROOT
	env     []string
}

// newHutch configures hutch as LXC is: an init that does nothing; the screen
// too is as in every day's use, a broker where there is an X server.
func newHutch(bin, root string) (*hutch, error) {
	h := &hutch{program: filepath.Join(bin, "hutch"), root: root}
	if _, err := os.Stat(h.program); err != nil {
		return nil, fmt.Errorf("%w; make build first", err)
	}
	config := filepath.Join(root, "etc/hutch")
	if err := os.MkdirAll(config, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(config, "hutch.toml"), []byte("init = \"app\"\n"), 0o644); err != nil {
		return nil, err
	}
	h.env = append(os.Environ(), "HUTCH_ROOT="+root)
	return h, nil
}

func (h *hutch) run(args ...string) error {
	return command(h.env, append([]string{h.program}, args...)...)
}

// tree writes the files of a container into a tar archive, so that LXC's have
// the very same.
func (h *hutch) tree(name, archive string) error {
	f, err := os.Create(archive)
	if err != nil {
		return err
	}
	cmd := exec.Command(h.program, "exec", name, "--user", "root", "--", "tar", "--one-file-system", "--numeric-owner", "-C", "/", "-cf", "-", ".")
	cmd.Env, cmd.Stdout, cmd.Stderr = h.env, f, os.Stderr
	if err := cmd.Run(); err != nil {
		f.Close()
		return fmt.Errorf("hutch exec %s -- tar: %w", name, err)
	}
	return f.Close()
}

func (h *hutch) create(name string) error { return h.run("create", name, image) }
func (h *hutch) start(name string) error  { return h.run("start", name) }
func (h *hutch) stop(name string) error   { return h.run("stop", name) }
func (h *hutch) kill(name string) error   { return h.run("stop", "--force", name) }
func (h *hutch) rm(name string) error     { return h.run("rm", "--force", name) }
func (h *hutch) ls() error                { return h.run("ls") }
func (h *hutch) exec(name string) error   { return h.run("exec", name, "--", "/bin/true") }
func (h *hutch) cleanup() error           { return h.run("cleanup", "--all", "--yes") }
