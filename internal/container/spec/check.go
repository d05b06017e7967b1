package spec

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Check is the one validator: it looks at the final spec, whoever made it, and
// returns all that is wrong with it. A privileged container may lack the user
// namespace; nothing else is forgiven it.
func Check(s *specs.Spec, privileged bool) error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if s.Linux == nil || s.Process == nil || s.Process.Capabilities == nil || s.Root == nil {
		return errors.New("the spec lacks its linux, process, capabilities or root part")
	}
	if s.Hooks != nil {
		say("hooks run on the host: there must be none")
	}
	for _, kind := range []specs.LinuxNamespaceType{
		specs.UserNamespace, specs.PIDNamespace, specs.MountNamespace, specs.IPCNamespace,
		specs.UTSNamespace, specs.CgroupNamespace, specs.NetworkNamespace,
	} {
		i := slices.IndexFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
		switch {
		case i < 0 && privileged && kind == specs.UserNamespace:
		case i < 0:
			say("no %s namespace of its own", kind)
		case s.Linux.Namespaces[i].Path != "":
			say("the %s namespace is another's: %s", kind, s.Linux.Namespaces[i].Path)
		}
	}
	if !privileged {
		for _, m := range slices.Concat(s.Linux.UIDMappings, s.Linux.GIDMappings) {
			if m.Size == 0 || uint64(m.HostID)+uint64(m.Size) > 1<<32-1 || uint64(m.ContainerID)+uint64(m.Size) > 1<<32-1 {
				say("id mapping %d→%d of %d ids is out of range", m.ContainerID, m.HostID, m.Size)
			}
			if m.HostID == 0 && m.Size > 0 {
				say("root of the host is mapped into the container")
			}
		}
		if len(s.Linux.UIDMappings) == 0 || len(s.Linux.GIDMappings) == 0 {
			say("no id mappings")
		}
	}
	c := s.Process.Capabilities
	for _, set := range [][]string{c.Bounding, c.Effective, c.Permitted, c.Inheritable, c.Ambient} {
		for _, name := range set {
			if !slices.Contains(Capabilities, name) {
				say("capability %s is never given", name)
			}
		}
	}
	checkSeccomp(s.Linux.Seccomp, say)
	for _, path := range MaskedPaths {
		if !slices.Contains(s.Linux.MaskedPaths, path) {
			say("%s is not masked", path)
		}
	}
	for _, path := range ReadonlyPaths {
		if !slices.Contains(s.Linux.ReadonlyPaths, path) {
			say("%s is not read-only", path)
		}
	}
	for _, m := range s.Mounts {
		if m.Type == "bind" || slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
			say("%s is a bind mount: what is lent is mounted before the container begins, where its flags are locked", m.Destination)
		}
		if !slices.Contains(m.Options, "nosuid") {
			say("%s is mounted without nosuid", m.Destination)
		}
		if under(m.Destination, "/sys") && m.Type == "sysfs" && !slices.Contains(m.Options, "ro") {
			say("/sys is writable")
		}
	}
	if r := s.Linux.Resources; r == nil || len(r.Devices) != 1 || r.Devices[0].Allow {
		say("devices are not closed")
	}
	if len(s.Linux.Devices) > 0 {
		say("device nodes of the spec's own")
	}
	return errors.Join(wrong...)
}

func checkSeccomp(filter *specs.LinuxSeccomp, say func(string, ...any)) {
	if filter == nil {
		say("no list of system calls")
		return
	}
	if filter.DefaultAction != specs.ActErrno {
		say("system calls that are not listed are not refused: %s", filter.DefaultAction)
	}
	for _, rule := range filter.Syscalls {
		if rule.Action != specs.ActAllow && rule.Action != specs.ActErrno {
			say("system calls %v: action %s", rule.Names, rule.Action)
		}
		if rule.Action != specs.ActAllow {
			continue
		}
		for _, name := range rule.Names {
			if slices.Contains(Forbidden, name) {
				say("system call %s is never allowed", name)
			}
			if (name == "socket" || name == "ioctl") && len(rule.Args) == 0 {
				say("system call %s is allowed whatever its arguments", name)
			}
		}
	}
}
