package runtime

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// children are the processes that somebody waits for. When entering a container
// fails half way, libcontainer leaves its helpers unwaited for: they are our
// children, but live in the container's process namespace, whose first process can
// not end before they are gone (pid_namespaces(7)).
type children struct {
	// starting is held while a child is made, until it is known.
	starting sync.Mutex
	mutex    sync.Mutex
	known    map[int]bool
}

func (c *children) add(pid int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.known == nil {
		c.known = map[int]bool{}
	}
	c.known[pid] = true
}

func (c *children) remove(pid int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.known, pid)
}

func (c *children) has(pid int) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.known[pid]
}

// Starting runs f, which makes and waits for a child of its own, so that
// ReapStrays does not take it for a stray.
func (c *Container) Starting(f func() error) error {
	c.children.starting.Lock()
	defer c.children.starting.Unlock()
	return f()
}

// ReapStrays waits for our children that have ended and that nobody waits for. It
// is to be called when a child has ended (SIGCHLD).
func (c *Container) ReapStrays() error {
	c.children.starting.Lock()
	defer c.children.starting.Unlock()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getpid()))
	if err != nil {
		return err
	}
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(bytes.TrimSpace(data))) {
			pid, err := strconv.Atoi(field)
			if err != nil || c.children.has(pid) {
				continue
			}
			if _, err := unix.Wait4(pid, nil, unix.WNOHANG, nil); err != nil && err != unix.ECHILD {
				return os.NewSyscallError("wait4", err)
			}
		}
	}
	return nil
}
