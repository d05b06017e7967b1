package agent

import "strings"

// Paths to programs, as Debian's login gives them (login.defs(5), ENV_SUPATH and
// ENV_PATH).
const (
	rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	userPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
)

// environment makes the environment of a command: what every login has, over it
// the container's own, over it what was asked for with this command. Nothing of
// the host's is in any of them unless somebody named it.
func environment(u user, term string, container, asked []string) []string {
	path := userPath
	if u.uid == 0 {
		path = rootPath
	}
	base := []string{
		"HOME=" + u.home,
		"USER=" + u.name,
		"LOGNAME=" + u.name,
		"SHELL=" + u.shellOrDefault(),
		"PATH=" + path,
		"LANG=C.UTF-8",
	}
	if term != "" {
		base = append(base, "TERM="+term)
	}
	return merge(base, container, asked)
}

func (u user) shellOrDefault() string {
	if u.shell == "" {
		return "/bin/sh"
	}
	return u.shell
}

// merge joins lists of KEY=value, a later one winning over an earlier one in the
// earlier one's place. Entries without = are dropped.
func merge(lists ...[]string) []string {
	var merged []string
	at := map[string]int{}
	for _, list := range lists {
		for _, entry := range list {
			key, _, ok := strings.Cut(entry, "=")
			if !ok || key == "" {
				continue
			}
			if i, is := at[key]; is {
				merged[i] = entry
				continue
			}
			at[key] = len(merged)
			merged = append(merged, entry)
		}
	}
	return merged
}

func value(env []string, key string) string {
	for _, entry := range env {
		if k, v, _ := strings.Cut(entry, "="); k == key {
			return v
		}
	}
	return ""
}
