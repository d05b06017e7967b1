package grant

import (
	"strings"
	"testing"
)

func TestCheckSource(t *testing.T) {
	facts := Facts{Home: "/home/gudok", UID: 1000, Own: []string{"/var/lib/hutch", "/run/hutch"}}
	rows := []struct{ source, why string }{
		{"/srv/music", ""},
		{"/home/gudok/Videos", ""},
		{"/etc/ssl/certs", ""},
		{"/", "whole machine"},
		{"/proc", "/proc of its own"},
		{"/proc/1/root", "/proc of its own"},
		{"/sys/fs/cgroup", "/sys of its own"},
		{"/dev/video0", "grant"},
		{"/home/gudok", "whole home"},
		{"/home", "whole home"},
		{"/tmp/.X11-unix", "X server"},
		{"/tmp/.X11-unix/X0", "X server"},
		{"/tmp", "X server"},
		{"/run/user/1000/pulse/native", "sound"},
		{"/run/user/1000/bus", "session"},
		{"/run/user", "sound"},
		{"/run/docker.sock", "root on the host"},
		{"/run", "another"},
		{"/var", "other containers"},
		{"/var/lib/hutch/containers/other/upper", "other containers"},
		{"/run/hutch/hutchd.sock", "other containers"},
	}
	for _, row := range rows {
		err := CheckSource(row.source, facts)
		switch {
		case row.why == "" && err != nil:
			t.Errorf("%s: %v", row.source, err)
		case row.why == "another" && err == nil:
			t.Errorf("%s may be lent", row.source)
		case row.why != "" && row.why != "another" && (err == nil || !strings.Contains(err.Error(), row.why)):
			t.Errorf("%s: got %v, want a reason with %q", row.source, err, row.why)
		}
	}
	facts.HomeAllowed = true
	if err := CheckSource("/home/gudok", facts); err != nil {
		t.Errorf("a home that was allowed: %v", err)
	}
}
