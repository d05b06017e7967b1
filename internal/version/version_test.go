package version

import (
	"runtime/debug"
	"testing"
)

func TestGet(t *testing.T) {
	module := &debug.BuildInfo{
		Main: debug.Module{Version: "v0.3.0"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef"},
			{Key: "vcs.time", Value: "2026-01-02T03:04:05Z"},
			{Key: "vcs.modified", Value: "true"},
		},
	}
	for _, c := range []struct {
		name   string
		linked Info
		build  *debug.BuildInfo
		want   string
	}{
		{"nothing known", Info{}, nil, "hutch 0.0.0-dev"},
		{"development build", Info{}, &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "hutch 0.0.0-dev"},
		{"go install", Info{}, module, "hutch v0.3.0 (0123456789ab, 2026-01-02T03:04:05Z)"},
		{"the linker has the last word", Info{Version: "1.0.0", Commit: "ffff", Date: "today"}, module, "hutch 1.0.0 (ffff, today)"},
		{"no date", Info{Version: "1.0.0", Commit: "ffff"}, nil, "hutch 1.0.0 (ffff)"},
	} {
		if got := get(c.linked, c.build).String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := get(Info{}, module).Commit; got != "0123456789abcdef-dirty" {
		t.Errorf("a changed tree: commit %q", got)
	}
}
