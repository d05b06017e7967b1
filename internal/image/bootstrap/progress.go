package bootstrap

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Progress says how far a root filesystem is.
type Progress struct {
	Phase   string  // "downloading", "installing", …
	Percent float64 // of the whole, 0 to 100, never less than before
}

// phases are mmdebstrap's, by how their announcement begins, with the part of
// the whole (in percent) that each begins at; measured on a bookworm.
var phases = []struct {
	announced string
	name      string
	from      float64
}{
	{"chroot architecture", "starting", 0},
	{"running apt-get update", "reading package lists", 1},
	{"downloading packages", "downloading", 10},
	{"extracting archives", "extracting", 30},
	{"installing essential packages", "installing", 40},
	{"installing remaining packages", "installing", 60},
	{"cleaning package lists", "cleaning", 92},
	{"creating tarball", "storing", 93},
	{"done", "storing", 99},
}

// meter turns mmdebstrap's lines into Progress.
type meter struct {
	phase int
	now   Progress
}

// line takes one line of mmdebstrap's output and says whether it was about the
// progress and has brought some.
func (m *meter) line(line string) bool {
	before := m.now
	if rest, is := strings.CutPrefix(line, "I: "); is {
		for i, p := range phases {
			if strings.HasPrefix(rest, p.announced) && i >= m.phase {
				m.phase = i
				m.now.Phase = p.name
				m.now.Percent = max(m.now.Percent, p.from)
			}
		}
		return m.now != before
	}
	percent, is := barPercent(line)
	if !is || m.phase >= len(phases)-1 {
		return false
	}
	from, to := phases[m.phase].from, phases[m.phase+1].from
	m.now.Percent = max(m.now.Percent, from+(to-from)*percent/100)
	return m.now != before
}

// barPercent reads the bar that mmdebstrap draws on a terminal:
// "installing:  45.20 [====>    ]", the word being optional.
func barPercent(line string) (float64, bool) {
	head, _, found := strings.Cut(line, " [")
	if !found {
		return 0, false
	}
	if _, after, named := strings.Cut(head, ":"); named {
		head = after
	}
	percent, err := strconv.ParseFloat(strings.TrimSpace(head), 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return 0, false
	}
	return percent, true
}

// escapes are the sequences by which mmdebstrap colours words and clears a line
// (ECMA-48, CSI).
var escapes = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`) }) // not at every start of hutch

// maxTold bounds how many lines of mmdebstrap's output are kept for the error.
const maxTold = 400

// watch reads mmdebstrap's output to its end, reports progress, and returns the
// last lines that were not a progress bar.
func watch(terminal io.Reader, report func(Progress)) []string {
	var m meter
	var told []string
	scan := bufio.NewScanner(terminal)
	scan.Buffer(nil, 1<<20)
	scan.Split(splitLines)
	for scan.Scan() {
		line := escapes().ReplaceAllString(scan.Text(), "")
		if line == "" {
			continue
		}
		if m.line(line) {
			report(m.now)
		}
		if _, is := barPercent(line); is {
			continue
		}
		told = append(told, line)
		if len(told) > maxTold {
			told = told[1:]
		}
	}
	// A terminal whose other side is closed gives EIO (pty(7)); a line beyond
	// the buffer ends the reading, not the work.
	io.Copy(io.Discard, terminal)
	return told
}

// splitLines ends a line at a newline or a carriage return, which redraws a bar.
func splitLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// openTerminal returns the two sides of a new pseudo terminal: mmdebstrap tells
// its progress to a terminal alone.
func openTerminal() (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*os.File, *os.File, error) {
		ours.Close()
		return nil, nil, os.NewSyscallError("open a pseudo terminal", err)
	}
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fail(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		return fail(err)
	}
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err != nil {
		return fail(err)
	}
	theirs, err = os.OpenFile("/dev/pts/"+strconv.FormatUint(uint64(n), 10), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	return ours, theirs, nil
}
