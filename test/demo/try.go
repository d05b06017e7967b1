package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hutch-project/hutch/internal/testenv"
	"github.com/hutch-project/hutch/internal/ui"
)

// A row is one thing that was tried in the container.
type row struct {
	what, where, result string
	ok                  bool // it came out as hutch promises
}

func (r row) String() string { return fmt.Sprintf("%-23s %-15s %s", r.what, r.where, r.result) }

// brief is what the picture has room for.
func (r row) brief() string {
	result, _, _ := strings.Cut(r.result, ";")
	return fmt.Sprintf("%-24s %.57s", r.what, result)
}

// A peer is a machine of the simulated world that a container asks for its name.
type peer struct {
	what, address string
	open          bool // to containers
}

var peers = []peer{
	{"this machine", testenv.HostLAN4, false},
	{"this machine, by IPv6", testenv.HostLAN6, false},
	{"a LAN neighbour", testenv.LAN4, false},
	{"the neighbour, public", testenv.LANPublic4, false},
	{"the neighbour, by IPv6", testenv.LAN6, false},
	{"behind a VPN", testenv.BehindVPN4, false},
	{"the Internet", testenv.Internet4, true},
	{"the Internet, by IPv6", testenv.Internet6, true},
}

// try looks around in the container.
func (h *hutch) try(ctx context.Context) ([]row, error) {
	asked := make([]row, len(peers))
	failures := make([]error, len(peers))
	var all sync.WaitGroup
	for i, p := range peers { // at once, as being refused takes a second
		all.Go(func() { asked[i], failures[i] = h.tryPeer(ctx, p) })
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	rows := append([]row{h.tryEnvironment(ctx), h.tryIDs(ctx)}, asked...)
	return append(rows, h.tryGateway(ctx), h.tryDNS(ctx), h.tryMirror(ctx)), ctx.Err()
}

// tryEnvironment knows by a variable of hutch's own environment whether that of
// the host came along.
func (h *hutch) tryEnvironment(ctx context.Context) row {
	out, err := h.run(ctx, "hutch", "exec", name, "--", "env")
	var names []string
	for line := range strings.Lines(out) {
		if variable, _, ok := strings.Cut(line, "="); ok {
			names = append(names, variable)
		}
	}
	r := row{"environment", "", "clean: " + ui.Escape(strings.Join(names, " ")), err == nil && len(names) > 0}
	if strings.Contains(out, secret) {
		r.result, r.ok = "the host's is in it", false
	}
	return r
}

func (h *hutch) tryIDs(ctx context.Context) row {
	out, err := h.inside(ctx, "root", "cat /proc/self/uid_map")
	var ranges []string
	safe := err == nil
	for line := range strings.Lines(out) {
		var inside, outside, count uint64
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n != 3 {
			safe = false
			continue
		}
		ranges = append(ranges, fmt.Sprintf("%d is %d", inside, outside))
		safe = safe && outside != 0
	}
	return row{"user ids", "", strings.Join(ranges, ", ") + " outside", safe && len(ranges) > 0}
}

// tryPeer asks a machine for its name: from the host first, so that silence in the
// container means something.
func (h *hutch) tryPeer(ctx context.Context, p peer) (row, error) {
	at := net.JoinHostPort(p.address, strconv.Itoa(testenv.WorkstationPort))
	var greeting string
	err := h.world.In(h.world.Host, func() error {
		c, err := net.DialTimeout("tcp", at, 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		greeting, err = bufio.NewReader(io.LimitReader(c, 100)).ReadString('\n')
		return err
	})
	if err != nil {
		return row{}, fmt.Errorf("%s does not even answer the host: %w", p.what, err)
	}
	began := time.Now()
	out, err := h.inside(ctx, "root", fmt.Sprintf("timeout 5 bash -c 'exec 3<>/dev/tcp/%s/%d && head -n 1 <&3'", p.address, testenv.WorkstationPort))
	took := time.Since(began).Round(time.Millisecond)
	answered := err == nil && strings.TrimSpace(out) == strings.TrimSpace(greeting)
	r := row{p.what, p.address, "", answered == p.open}
	switch {
	case answered:
		r.result = fmt.Sprintf("answers, in %v", took)
	default:
		_, why, _ := strings.Cut(lastLine(out), "/dev/tcp/")
		if _, reason, ok := strings.Cut(why, ": "); ok {
			why = reason
		}
		if why == "" {
			why = "silence"
		}
		r.result = fmt.Sprintf("closed (%s); it answers the host", ui.Escape(strings.ToLower(why)))
	}
	return r, nil
}

func (h *hutch) tryGateway(ctx context.Context) row {
	out, err := h.inside(ctx, "root", "ip -4 route show default | cut -d' ' -f3 && ping -n -q -c 1 -W 3 \"$(ip -4 route show default | cut -d' ' -f3)\"")
	gateway, _, _ := strings.Cut(out, "\n")
	if err != nil || !strings.Contains(out, " 0% packet loss") {
		return row{"the gateway", "", ui.Escape(lastLine(out)), false}
	}
	return row{"the gateway", ui.Escape(gateway), "answers a ping", true}
}

func (h *hutch) tryDNS(ctx context.Context) row {
	out, err := h.inside(ctx, "root", "getent ahostsv4 deb.debian.org | head -n 1")
	fields := strings.Fields(out)
	if err != nil || len(fields) == 0 {
		return row{"DNS", "", "does not know deb.debian.org: " + ui.Escape(lastLine(out)), false}
	}
	return row{"DNS", "", "deb.debian.org is " + ui.Escape(fields[0]), true}
}

// tryMirror is no promise of hutch's: the machine may be off line.
func (h *hutch) tryMirror(ctx context.Context) row {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	began := time.Now()
	out, err := h.inside(ctx, "root", "apt-get -q update -o Acquire::Retries=0 -o Acquire::http::Timeout=20 -o APT::Update::Error-Mode=any")
	took := time.Since(began).Round(10 * time.Millisecond)
	if err != nil {
		return row{"package mirror, by apt", "", fmt.Sprintf("not reached, after %v: %s", took, ui.Escape(reason(out))), true}
	}
	return row{"package mirror, by apt", "", fmt.Sprintf("reached: %s, in %v", ui.Escape(summary(out)), took), true}
}

// reason is the first error that apt told of.
func reason(out string) string {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "Err:") {
			return strings.TrimSpace(line)
		}
	}
	return lastLine(out)
}

// summary is what apt says of its work.
func summary(out string) string {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Fetched ") {
			return strings.ToLower(line[:1]) + strings.TrimSpace(line[1:])
		}
	}
	return "nothing new there"
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}
