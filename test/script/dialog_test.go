package script

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// dialog runs a command on a terminal of 30 rows and 100 columns and carries out
// the lines of a file:
//
//	expect REGEXP    wait until it is in what was shown since the last one
//	type TEXT        as on the keyboard, with \n, \x03 … as Go has them
//	size ROWS COLS   of the terminal from now on
//	status N         wait for the command to end with this exit status
//
// When the command has ended, the terminal must be set as it was before.
func dialog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: dialog FILE COMMAND...")
	}
	s, err := openScreen()
	ts.Check(err)
	defer s.close()
	path := args[1]
	if !strings.Contains(path, "/") {
		path, err = lookPath(path, ts.Getenv("PATH"))
		ts.Check(err)
	}
	s.command = exec.Command(path, args[2:]...)
	environment(ts, s.command)
	ts.Check(s.start())
	ended := false
	for number, line := range strings.Split(ts.ReadFile(args[0]), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		end, err := s.do(line)
		if err != nil {
			ts.Fatalf("%s:%d: %s: %v\nshown: %q", args[0], number+1, line, err, s.shown.String())
		}
		ended = ended || end
	}
	if !ended {
		ts.Fatalf("%s: has no line 'status'", args[0])
	}
	fmt.Fprint(ts.Stdout(), s.shown.String())
}

func lookPath(name, path string) (string, error) {
	for dir := range strings.SplitSeq(path, ":") {
		if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode()&0o111 != 0 {
			return dir + "/" + name, nil
		}
	}
	return "", fmt.Errorf("%s: not found", name)
}

// A screen is a terminal with a command on it.
type screen struct {
	master, slave *os.File
	before        *unix.Termios
	command       *exec.Cmd
	ended         chan error

	mutex sync.Mutex
	shown bytes.Buffer // all that was shown
	seen  int          // of it, by expect
}

// patience of each line of a dialog.
const patience = 20 * time.Second

func openScreen() (*screen, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return nil, err
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	s := &screen{master: master, slave: slave, ended: make(chan error, 1)}
	if err := s.resize(30, 100); err != nil {
		return nil, err
	}
	s.before, err = unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	return s, err
}

func (s *screen) resize(rows, cols uint16) error {
	return unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
}

func (s *screen) start() error {
	c := s.command
	c.Stdin, c.Stdout, c.Stderr = s.slave, s.slave, s.slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		return err
	}
	go func() { s.ended <- c.Wait() }()
	go func() {
		r := bufio.NewReader(s.master)
		for {
			b, err := r.ReadByte()
			if err != nil {
				return
			}
			s.mutex.Lock()
			s.shown.WriteByte(b)
			s.mutex.Unlock()
		}
	}()
	return nil
}

func (s *screen) do(line string) (ended bool, err error) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "expect":
		pattern, err := regexp.Compile(rest)
		if err != nil {
			return false, err
		}
		return false, s.expect(pattern)
	case "type":
		text, err := strconv.Unquote(`"` + rest + `"`)
		if err != nil {
			return false, err
		}
		_, err = s.master.WriteString(text)
		return false, err
	case "size":
		var rows, cols uint16
		if _, err := fmt.Sscan(rest, &rows, &cols); err != nil {
			return false, err
		}
		return false, s.resize(rows, cols)
	case "status":
		want, err := strconv.Atoi(rest)
		if err != nil {
			return false, err
		}
		return true, s.status(want)
	}
	return false, errors.New("no such line")
}

func (s *screen) expect(pattern *regexp.Regexp) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s.mutex.Lock()
		at := pattern.FindIndex(s.shown.Bytes()[s.seen:])
		if at != nil {
			s.seen += at[1]
		}
		s.mutex.Unlock()
		if at != nil {
			return nil
		}
	}
	return fmt.Errorf("not shown within %v", patience)
}

func (s *screen) status(want int) error {
	select {
	case <-s.ended:
	case <-time.After(patience):
		return fmt.Errorf("it did not end within %v", patience)
	}
	if got := s.command.ProcessState.ExitCode(); got != want {
		return fmt.Errorf("it ended with %d (%v)", got, s.command.ProcessState)
	}
	after, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	if *after != *s.before {
		return fmt.Errorf("the terminal was left changed: %+v, was %+v", *after, *s.before)
	}
	return nil
}

func (s *screen) close() {
	if s.command != nil && s.command.ProcessState == nil && s.command.Process != nil {
		_ = s.command.Process.Kill()
		select {
		case <-s.ended:
		case <-time.After(patience):
		}
	}
	s.slave.Close()
	s.master.Close()
}
