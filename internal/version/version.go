package version

import (
	"runtime"
	"runtime/debug"
)

// Set by the linker (Makefile, -X); empty where hutch was built without it.
var (
	number string
	commit string
	date   string
)

// Info is what `hutch version --format json` shows.
type Info struct {
	Version string `json:"version"` // 0.1.0, or 0.0.0-dev between releases
	Commit  string `json:"commit"`  // of the source, hexadecimal; "-dirty" where it was changed; may be empty
	Date    string `json:"date"`    // of the commit, RFC 3339; may be empty
	Go      string `json:"go"`
	Arch    string `json:"arch"` // GOOS/GOARCH
}

// Get returns what the linker wrote, or else what the go command recorded in
// the program (debug.ReadBuildInfo).
func Get() Info {
	build, _ := debug.ReadBuildInfo()
	return get(Info{Version: number, Commit: commit, Date: date}, build)
}

// String is the version in one line: hutch 0.1.0 (1a2b3c4d5e6f, 2026-11-23T20:50:00Z).
func (i Info) String() string {
	line := "hutch " + i.Version
	short := i.Commit
	if len(short) > 12 {
		short = short[:12]
	}
	switch {
	case short != "" && i.Date != "":
		return line + " (" + short + ", " + i.Date + ")"
	case short != "":
		return line + " (" + short + ")"
	}
	return line
}

func get(linked Info, build *debug.BuildInfo) Info {
	i := linked
	i.Go = runtime.Version()
	i.Arch = runtime.GOOS + "/" + runtime.GOARCH
	if build != nil {
		settings := map[string]string{}
		for _, s := range build.Settings {
			settings[s.Key] = s.Value
		}
		if i.Version == "" && build.Main.Version != "" && build.Main.Version != "(devel)" {
			i.Version = build.Main.Version
		}
		if i.Commit == "" {
			i.Commit = settings["vcs.revision"]
			if i.Commit != "" && settings["vcs.modified"] == "true" {
				i.Commit += "-dirty"
			}
		}
		if i.Date == "" {
			i.Date = settings["vcs.time"]
		}
	}
	if i.Version == "" {
		i.Version = "0.0.0-dev"
	}
	return i
}
