package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/container/control"
)

const oNonblock = unix.O_NONBLOCK // a FIFO in the place of a file must not stop us

// A command is all that is decided before anything runs.
type command struct {
	path string
	args []string
	env  []string
	dir  string
	user user
}

// Defaults of an agent: who runs a command that names no user, and the
// environment that the container's configuration gives to all.
type Defaults struct {
	User string // as control.Exec.User
	Env  []string
	// Console is the master of the container's console, kept for the case that
	// the supervisor dies; nil with an agent that is not resident.
	Console *os.File
}

// prepare decides what a request comes to, with the container's own files.
func prepare(r control.Exec, d Defaults) (command, *control.Failure) {
	spec := r.User
	if spec == "" {
		spec = d.User
	}
	u, err := lookup(spec, readAccounts("/etc/passwd"), readAccounts("/etc/group"))
	if err != nil {
		return command{}, &control.Failure{Status: control.StatusFailed, Message: err.Error()}
	}
	c := command{args: r.Args, user: u, dir: r.Dir}
	c.env = environment(u, r.Term, d.Env, r.Env)
	if c.dir == "" {
		c.dir = u.home
		if !isDir(c.dir) {
			c.dir = "/"
		}
	}
	if !filepath.IsAbs(c.dir) {
		c.dir = filepath.Join(u.home, c.dir)
	}
	if !isDir(c.dir) {
		return command{}, &control.Failure{Status: control.StatusFailed, Message: fmt.Sprintf("%s: no such folder in the container", c.dir)}
	}
	if len(c.args) == 0 {
		c.args = []string{u.shellOrDefault()}
	}
	path, failure := find(c.args[0], value(c.env, "PATH"), c.dir)
	if failure != nil {
		return command{}, failure
	}
	c.path = path
	if r.Login { // a leading hyphen makes a shell a login shell (bash(1), "INVOCATION")
		c.args = append([]string{"-" + filepath.Base(c.args[0])}, c.args[1:]...)
	}
	return c, nil
}

// mapped says whether an id is in a map of user_namespaces(7).
func mapped(id uint32, path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true // nothing is known
	}
	defer f.Close()
	for {
		var first, outside, count uint64
		if _, err := fmt.Fscan(f, &first, &outside, &count); err != nil {
			return false
		}
		if uint64(id) >= first && uint64(id)-first < count {
			return true
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// find looks a program up as a shell does.
func find(name, path, dir string) (string, *control.Failure) {
	if name == "" {
		return "", &control.Failure{Status: control.StatusNotFound, Message: "an empty command"}
	}
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for d := range strings.SplitSeq(path, ":") {
			candidates = append(candidates, filepath.Join(d, name))
		}
	}
	found := ""
	for _, candidate := range candidates {
		if !filepath.IsAbs(candidate) {
			candidate = filepath.Join(dir, candidate)
		}
		info, err := os.Stat(candidate)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			continue
		case err != nil:
			return "", &control.Failure{Status: control.StatusNotExecutable, Message: err.Error()}
		case info.IsDir() || info.Mode().Perm()&0o111 == 0:
			found = candidate
			continue
		}
		return candidate, nil
	}
	if found != "" {
		return "", &control.Failure{Status: control.StatusNotExecutable, Message: found + ": not executable"}
	}
	return "", &control.Failure{Status: control.StatusNotFound, Message: name + ": not found in the container"}
}

// start runs the command with the given stdin, stdout and stderr, in a session
// of its own; terminal says that they are a pty that becomes its controlling one.
func (c command) start(stdio [3]*os.File, terminal bool) (*os.Process, *control.Failure) {
	p, err := os.StartProcess(c.path, c.args, &os.ProcAttr{
		Dir:   c.dir,
		Env:   c.env,
		Files: stdio[:],
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Setctty:    terminal,
			Credential: &syscall.Credential{Uid: c.user.uid, Gid: c.user.gid, Groups: c.user.groups},
		},
	})
	if err == nil {
		return p, nil
	}
	if errors.Is(err, syscall.EINVAL) && !(mapped(c.user.uid, "/proc/self/uid_map") && mapped(c.user.gid, "/proc/self/gid_map")) {
		return nil, &control.Failure{Status: control.StatusFailed, Message: fmt.Sprintf("user %d, group %d: the container has no such ids", c.user.uid, c.user.gid)}
	}
	status := control.StatusNotExecutable
	if errors.Is(err, fs.ErrNotExist) {
		status = control.StatusNotFound // an interpreter that is not there
	}
	return nil, &control.Failure{Status: status, Message: err.Error()}
}
