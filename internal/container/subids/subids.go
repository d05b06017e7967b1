package subids

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/atomicfile"
	"github.com/hutch-project/hutch/internal/container/idmap"
	"github.com/hutch-project/hutch/internal/paths"
	"github.com/hutch-project/hutch/internal/undo"
)

// lockWait is how long lckpwdf(3) waits, too.
const lockWait = 15 * time.Second

// Ensure sees to it that root's ranges have room for a container of count ids
// beside the taken ones, and says what was added, "" for nothing. The line is on
// record before it is in the files, so that a crash leaves nothing that
// [TakeBack] does not find.
func Ensure(l paths.Layout, taken []idmap.Range, count uint32) (added string, err error) {
	unlock, err := lock(l)
	if err != nil {
		return "", err
	}
	defer unlock()
	subuid, err := readOptional(l.SubUID)
	if err != nil {
		return "", err
	}
	subgid, err := readOptional(l.SubGID)
	if err != nil {
		return "", err
	}
	files, err := idmap.EnsureRange(subuid, subgid, "root", 0, taken, count)
	if err != nil || files.Added == "" {
		return "", err
	}
	record, err := readOptional(l.SubIDRecord())
	if err != nil {
		return "", err
	}
	var back undo.Stack
	defer back.UnwindOn(&err)
	if err := os.MkdirAll(filepath.Dir(l.SubIDRecord()), 0o755); err != nil {
		return "", err
	}
	if err := atomicfile.Write(l.SubIDRecord(), append(record, files.Added+"\n"...), 0o644); err != nil {
		return "", err
	}
	back.Push("put the record of added ids back", func() error { return restore(l.SubIDRecord(), record) })
	if err := write(l.SubUID, files.SubUID); err != nil {
		return "", err
	}
	back.Push("put "+l.SubUID+" back", func() error { return write(l.SubUID, subuid) })
	if err := write(l.SubGID, files.SubGID); err != nil {
		return "", err
	}
	back.Release()
	return files.Added, nil
}

// TakeBack removes the lines that [Ensure] added, and their record. Where the record
// is lost, the line is known by what Ensure would add now, with the same taken
// ranges. The caller knows that no container lives on those ids.
func TakeBack(l paths.Layout, taken []idmap.Range) error {
	record, err := readOptional(l.SubIDRecord())
	if err != nil {
		return err
	}
	if len(record) == 0 {
		if record, err = recognize(l, taken); err != nil {
			return err
		}
	}
	if len(record) == 0 {
		return nil
	}
	unlock, err := lock(l)
	if err != nil {
		return err
	}
	defer unlock()
	for _, path := range []string{l.SubUID, l.SubGID} {
		before, err := readOptional(path)
		if err != nil {
			return err
		}
		after := before
		for line := range strings.Lines(string(record)) {
			after, _ = idmap.RemoveLine(after, strings.TrimSuffix(line, "\n"))
		}
		if len(after) == len(before) {
			continue
		}
		if err := write(path, after); err != nil {
			return err
		}
	}
	return restore(l.SubIDRecord(), nil)
}

// recognize returns what the record would say.
func recognize(l paths.Layout, taken []idmap.Range) ([]byte, error) {
	subuid, err := readOptional(l.SubUID)
	if err != nil {
		return nil, err
	}
	subgid, err := readOptional(l.SubGID)
	if err != nil {
		return nil, err
	}
	// As if for more than others' lines give root: hutch's own has room for two thousand.
	line := idmap.Recognize(subuid, subgid, "root", 0, taken, 64*idmap.Size)
	if line == "" {
		return nil, nil
	}
	return []byte(line + "\n"), nil
}

// restore writes a file as it was; one without content was none.
func restore(path string, data []byte) error {
	if len(data) > 0 {
		return atomicfile.Write(path, data, 0o644)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// write keeps the mode that the file has.
func write(path string, data []byte) error {
	mode := os.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	return atomicfile.Write(path, data, mode)
}

func readOptional(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// lock does what lckpwdf(3) does: a record lock on the whole of a file that
// nobody removes. It is an open-file-description lock, which meets lckpwdf's own
// and also other threads of this program.
func lock(l paths.Layout) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(l.PasswdLock()), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(l.PasswdLock(), os.O_CREATE|os.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == nil {
			return func() { f.Close() }, nil
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("lock %s: another program is changing users: %w; try again when it is done", l.PasswdLock(), err)
		}
	}
}
