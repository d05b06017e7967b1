package desktop

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hutch-project/hutch/internal/desktop/xauth"
	"github.com/hutch-project/hutch/internal/sys"
)

// Person returns the uid of whoever called: root through sudo keeps the caller in
// SUDO_UID.
func Person(getenv func(string) string) uint32 {
	if uid, err := strconv.ParseUint(getenv("SUDO_UID"), 10, 32); err == nil && os.Getuid() == 0 {
		return uint32(uid)
	}
	return uint32(os.Getuid())
}

// Gather collects the facts about the display of a person who calls with the
// given environment. What is missing is left out: no session manager, no socket
// and no file are facts as well. Files of the person are read with the person's
// rights.
func Gather(ctx context.Context, uid uint32, getenv func(string) string) Facts {
	f := Facts{
		UID:            uid,
		Display:        getenv("DISPLAY"),
		Authority:      getenv("XAUTHORITY"),
		WaylandDisplay: getenv("WAYLAND_DISPLAY"),
	}
	f.Sockets = pathSockets()
	if table, err := readSome("/proc/net/unix", 16<<20); err == nil {
		f.Sockets = append(f.Sockets, parseUnixTable(string(table))...)
	}
	f.Sessions = loginSessions(ctx)
	for _, path := range candidates(uid, f.Authority) {
		if a, ok := readAuthority(uid, path); ok {
			f.Authorities = append(f.Authorities, a)
		}
	}
	return f
}

func pathSockets() []Socket {
	entries, _ := os.ReadDir(SocketDir) // missing: no server has a socket there
	var sockets []Socket
	for _, e := range entries {
		tail, ok := strings.CutPrefix(e.Name(), "X")
		n, digits := parseDigits(tail)
		info, err := e.Info()
		if !ok || !digits || n > maxNumber || err != nil || info.Mode().Type() != os.ModeSocket || len(sockets) == maxSockets {
			continue
		}
		if st, is := info.Sys().(*syscall.Stat_t); is {
			sockets = append(sockets, Socket{Address{Unix, SocketPath(n)}, n, st.Uid})
		}
	}
	slices.SortFunc(sockets, func(a, b Socket) int { return cmp.Compare(a.Number, b.Number) })
	return sockets
}

// candidates lists the files in which a person's cookies may be: the one the
// caller names, then those of the display managers and compositors, the newest
// first, then the old one at home.
func candidates(uid uint32, variable string) []string {
	var paths []string
	add := func(path string) {
		if filepath.IsAbs(path) && !slices.Contains(paths, path) && len(paths) < 32 {
			paths = append(paths, path)
		}
	}
	add(variable)
	runtime := fmt.Sprintf("/run/user/%d", uid)
	var found []string
	for _, pattern := range []string{
		runtime + "/.mutter-Xwaylandauth.*", // GNOME
		runtime + "/xauth_*",                // KWin; SDDM since 0.20
		runtime + "/gdm/Xauthority",         // GDM, X11 session
		"/run/sddm/xauth_*",                 // SDDM
		"/tmp/xauth_*",                      // SDDM 0.19 and later, X11 session
		"/tmp/xauth-" + fmt.Sprint(uid) + "-*",
	} {
		matches, _ := filepath.Glob(pattern) // the patterns are right
		found = append(found, matches...)
	}
	newest := func(path string) time.Time {
		if info, err := os.Lstat(path); err == nil {
			return info.ModTime()
		}
		return time.Time{}
	}
	slices.SortStableFunc(found, func(a, b string) int { return newest(b).Compare(newest(a)) })
	for _, path := range found {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			if st, is := info.Sys().(*syscall.Stat_t); is && st.Uid == uid {
				add(path)
			}
		}
	}
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		add(filepath.Join(u.HomeDir, ".Xauthority"))
	}
	return paths
}

func readAuthority(uid uint32, path string) (AuthorityFile, bool) {
	data, err := sys.ReadFileAs(uid, path, xauth.MaxFile)
	if err != nil {
		return AuthorityFile{}, false
	}
	records, _ := xauth.Parse(data) // what is whole in a damaged file serves
	a := AuthorityFile{Path: path}
	for _, r := range records {
		switch {
		case r.Name != xauth.Cookie:
		case r.Family == xauth.FamilyLocal || r.Family == xauth.FamilyWild:
			a.Numbers = append(a.Numbers, r.Number)
		case r.Family == xauth.FamilyInternet || r.Family == xauth.FamilyInternet6:
			a.Hosts = true
		}
	}
	return a, len(a.Numbers) > 0 || a.Hosts
}

// loginSessions asks logind, through the program that is made for scripts. A
// machine without logind has no sessions.
func loginSessions(ctx context.Context) []Session {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	list, err := output(ctx, "loginctl", "list-sessions", "--no-legend", "--no-pager")
	if err != nil {
		return nil
	}
	arguments := []string{"show-session", "--no-pager", "-p", "Id", "-p", "User", "-p", "Type", "-p", "Class", "-p", "Display", "-p", "Active"}
	fixed := len(arguments)
	for line := range strings.SplitSeq(list, "\n") {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "-") && len(arguments) < fixed+maxSessions {
			arguments = append(arguments, fields[0])
		}
	}
	if len(arguments) == fixed {
		return nil
	}
	text, err := output(ctx, "loginctl", arguments...)
	if err != nil {
		return nil
	}
	return parseSessions(text)
}

func output(ctx context.Context, program string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_, readErr := io.Copy(&out, io.LimitReader(pipe, 1<<20))
	pipe.Close() // a program with more to say than that ends by it
	if err := cmd.Wait(); err != nil {
		return "", err
	}
	return out.String(), readErr
}

func readSome(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, max))
}
