package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hutch-project/hutch/internal/container"
	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/image"
	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/hutch-project/hutch/internal/workspace"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	t := noon.Add(-d)
	return &t
}

func TestSince(t *testing.T) {
	for _, row := range []struct {
		t    *time.Time
		want string
	}{
		{nil, ""},
		{ago(0), "0 µs"},
		{ago(90 * time.Second), "1 min 30 s"},
		{ago(-time.Hour), "0 µs"}, // the clock was set back
	} {
		if got := since(row.t, noon); got != row.want {
			t.Errorf("since %v: %q, want %q", row.t, got, row.want)
		}
	}
}

func TestListTable(t *testing.T) {
	var b bytes.Buffer
	err := listTable([]workspace.Summary{
		{Name: "ff", State: container.Running, Image: "debian/bookworm", Address: []string{"10.1.2.3", "fd00::3"}, Since: ago(5 * time.Second)},
		{Name: "calc", State: container.Stopped, Image: "debian/trixie\x1b[31m", Address: []string{}},
	}, noon).Write(&b, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"NAME STATE SINCE IMAGE ADDRESS", "ff running 5.0 s debian/bookworm 10.1.2.3", `calc stopped debian/trixie\x1b[31m`}
	for i, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		if got := strings.Join(strings.Fields(line), " "); i >= len(want) || got != want[i] {
			t.Errorf("line %d: %q, want %q", i, got, want[min(i, len(want)-1)])
		}
	}
}

func TestLease(t *testing.T) {
	running := workspace.Info{
		Summary: workspace.Summary{Name: "ff", State: container.Running, Image: "debian/bookworm", Since: ago(2 * time.Minute), Created: noon},
		Digest:  "sha256:0123456789abcdef", Person: container.Person{Name: "ada", UID: 1000}, IDs: "person", Init: "system", Process: 4711,
		Lease:   &api.Lease{Address4: netip.MustParsePrefix("10.1.2.3/24"), Address6: netip.MustParsePrefix("fd00::3/64")},
		Usage:   &control.Usage{Memory: 3 << 20, Tasks: 7, OOMKills: 2},
		Limits:  control.Limits{Memory: 1 << 30, CPUs: 1.5, PIDs: 0},
		Disk:    4096,
		Granted: []string{"reads /srv\n as srv", "the Internet"}, NotGranted: []string{"the screen"},
	}
	stopped := running
	stopped.State, stopped.Usage, stopped.Lease, stopped.Process, stopped.Init, stopped.Limits = container.Stopped, nil, nil, 0, "auto", control.Limits{}
	for _, row := range []struct {
		info       workspace.Info
		want, dont []string
	}{
		{running, []string{
			"State running for 2 min", "Image debian/bookworm (sha256:0123456789ab)", "User ada (1000), ids: person",
			"Init system (process 4711 on the host)", "Address 10.1.2.3, fd00::3", "Memory 3.00 MiB of 1.00 GiB", "Tasks 7 of any number",
			"the memory limit was hit 2 times", "Processors at most 1.5", "Disk 4.00 KiB of its own", `May use reads /srv\n as srv`, "the Internet", "May not use the screen",
		}, nil},
		{stopped, []string{"State stopped", "Init auto", "Memory at most any number", "Tasks at most any number"}, []string{"Address", "process", "Processors", "hit"}},
	} {
		var lines []string
		for line := range strings.Lines(lease(row.info, noon)) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		all := "\n" + strings.Join(lines, "\n") + "\n"
		for _, want := range row.want {
			if !strings.Contains(all, "\n"+want+"\n") {
				t.Errorf("no line %q in:%s", want, all)
			}
		}
		for _, dont := range row.dont {
			if strings.Contains(all, dont) {
				t.Errorf("%q in:%s", dont, all)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	interrupted, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("interrupt")
	cancel(cause)
	wrong := errors.New("wrong")
	for _, row := range []struct {
		ctx    context.Context
		err    error
		status int
		said   string
	}{
		{context.Background(), nil, 0, ""},
		{context.Background(), status(7), 7, ""},
		{context.Background(), fmt.Errorf("deep: %w", status(137)), 137, ""},
		{context.Background(), errors.New("a\x1b[31mb"), 1, "hutch: a\\x1b[31mb\n"},
		{context.Background(), &usageError{"hutch ls", wrong}, 2, "hutch: wrong\nsee 'hutch ls --help'\n"},
		{context.Background(), &usageError{"hutch exec", wrong}, 125, "hutch: wrong\nsee 'hutch exec --help'\n"},
		{interrupted, fmt.Errorf("create: %w", cause), 130, "hutch: interrupted; what was begun has been undone\n"},
		{interrupted, wrong, 1, "hutch: wrong\n"},
	} {
		var said bytes.Buffer
		if got := explain(row.ctx, &said, row.err); got != row.status || said.String() != row.said {
			t.Errorf("%v: status %d, %q; want %d, %q", row.err, got, said.String(), row.status, row.said)
		}
	}
}

func TestPackages(t *testing.T) {
	for given, want := range map[string][]string{
		"x11-apps":       {"x11-apps"},
		"less,vim":       {"less", "vim"},
		"x11-apps\nevil": {"x11-apps\nevil"}, // not cut off at the line's end, but refused as a name
		"a,":             {"a", ""},
	} {
		if got := packages([]string{given}); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
	if _, err := (image.Reference{Distribution: "debian", Release: "bookworm"}).With(packages([]string{"x11-apps\nevil"})...); err == nil {
		t.Error("a package name with a line break was taken")
	}
}
