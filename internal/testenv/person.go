package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Person is a user of the simulated workstation alone.
type Person struct {
	Name string
	UID  int // and gid
	Home string
}

// AddPerson gives the workstation a person: a line in /etc/passwd and /etc/group,
// and a home in a /home that holds nothing else. All of it is to be seen only by
// what is started on the workstation. It can be called once.
func (w *Workstation) AddPerson(name string, uid int) (Person, error) {
	p := Person{Name: name, UID: uid, Home: filepath.Join("/home", name)}
	for path, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("%s:x:%d:%d:%s,,,:%s:/bin/bash\n", name, uid, uid, strings.ToUpper(name[:1])+name[1:], p.Home),
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", name, uid),
	} {
		old, err := os.ReadFile(path)
		if err != nil {
			return p, err
		}
		var text strings.Builder
		for l := range strings.Lines(string(old)) { // whoever has the name or the id on the machine is not there
			f := strings.Split(strings.TrimSpace(l), ":")
			if f[0] != name && (len(f) < 3 || f[2] != strconv.Itoa(uid)) {
				text.WriteString(l)
			}
		}
		if err := w.hostFile(path, text.String()+line); err != nil {
			return p, err
		}
	}
	return p, w.inMounts(func() error {
		if err := unix.Mount("home", "/home", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return os.NewSyscallError("mount", err)
		}
		return errors.Join(os.Mkdir(p.Home, 0o750), os.Lchown(p.Home, uid, uid))
	})
}

// Wrappers writes two small programs into a folder: `hutch`, which runs this
// hutch on the workstation, and `host`, which runs any command there. Both keep
// their caller's environment, terminal, process id and signals; HUTCH_ROOT is
// this hutch's. They work for as long as the test lives.
func (h *Hutch) Wrappers(dir string) error {
	enter := fmt.Sprintf("#!/bin/sh\nexport HUTCH_ROOT=%s\nexec nsenter --net=/proc/%d/fd/%d --mount=/proc/%d/fd/%d --wd=. -- ",
		h.Root, os.Getpid(), h.Host.Fd(), os.Getpid(), h.mounts.Fd())
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "hutch"), []byte(enter+filepath.Join(h.Bin, "hutch")+` "$@"`+"\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "host"), []byte(enter+`"$@"`+"\n"), 0o755))
}

// CopyImages gives the hutch an image store of its own that holds what the shared
// one does, so that a test may remove from it. Files are the same until removed.
func (h *Hutch) CopyImages() error {
	link := filepath.Join(h.Root, "var/lib/hutch/images")
	shared, err := os.Readlink(link)
	if err != nil {
		return err
	}
	h.OwnImages()
	if _, err := h.Run(h.Host, "cp", "-al", shared, link); err != nil {
		return err
	}
	return nil
}
