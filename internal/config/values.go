package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bytes is an amount of memory or disk.
type Bytes uint64

const (
	KiB Bytes = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

// units, the largest first; the decimal ones are for reading only.
var units = []struct {
	name string
	size Bytes
}{
	{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3},
	{"T", TiB}, {"G", GiB}, {"M", MiB}, {"K", KiB}, {"k", KiB},
	{"B", 1},
}

// maxBytes keeps a size within what cgroup files and int64 hold.
const maxBytes = Bytes(math.MaxInt64)

// ParseBytes reads a size: a number, then a unit: B, KiB, MiB, GiB, TiB, the
// short K, M, G, T for the same, or the decimal kB, MB, GB, TB.
func ParseBytes(s string) (Bytes, error) {
	const advice = `write a number and a unit, such as "512MiB" or "2GiB"`
	number, size := s, Bytes(0)
	for _, u := range units {
		if rest, found := strings.CutSuffix(s, u.name); found {
			number, size = strings.TrimSuffix(rest, " "), u.size
			break
		}
	}
	if size == 0 {
		if number != "" && strings.Trim(number, "0123456789") == "" {
			return 0, fmt.Errorf("size %s has no unit; write %sMiB or %sB", quote(s), number, number)
		}
		return 0, fmt.Errorf("%s is not a size; %s", quote(s), advice)
	}
	whole, fraction, dotted := strings.Cut(number, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" || dotted && fraction == "" || len(fraction) > 6 {
		return 0, fmt.Errorf("%s is not a size; %s", quote(s), advice)
	}
	n, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || n > uint64(maxBytes/size) {
		return 0, fmt.Errorf("size %s is too large", quote(s))
	}
	bytes := Bytes(n) * size
	if dotted {
		f, err := strconv.ParseUint(fraction, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is not a size; %s", quote(s), advice)
		}
		scale := uint64(math.Pow10(len(fraction)))
		// size/scale first would lose bytes; f < 10^6 and size ≤ 2^40 do not overflow together.
		bytes += Bytes(f * uint64(size) / scale)
	}
	if bytes > maxBytes {
		return 0, fmt.Errorf("size %s is too large", quote(s))
	}
	return bytes, nil
}

// String writes the size so that [ParseBytes] reads the same.
func (b Bytes) String() string {
	for _, u := range units[:4] {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatUint(uint64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatUint(uint64(b), 10) + "B"
}

// minMemory is the least a container can start with.
const minMemory = 16 * MiB

// Memory is a limit on memory. At most one field is set; the zero value means
// nothing.
type Memory struct {
	Half      bool  // half of the machine's memory
	Unlimited bool  // no limit at all
	Size      Bytes // exactly so much
}

// Limit returns the limit on a machine with that much memory; 0 is none.
func (m Memory) Limit(machine Bytes) Bytes {
	switch {
	case m.Unlimited:
		return 0
	case m.Half:
		// Rounded down to a page of the largest page size in use, and never so small
		// that nothing starts.
		return max(machine/2&^(64*KiB-1), minMemory)
	}
	return m.Size
}

// ParseMemory reads "half", "unlimited" or a size.
func ParseMemory(s string) (Memory, error) {
	switch s {
	case "half":
		return Memory{Half: true}, nil
	case "unlimited":
		return Memory{Unlimited: true}, nil
	}
	size, err := ParseBytes(s)
	if err != nil {
		return Memory{}, fmt.Errorf(`%w, "half" or "unlimited"`, err)
	}
	if size < minMemory {
		return Memory{}, fmt.Errorf("memory %s is too little to start anything; write at least %s", quote(s), minMemory)
	}
	return Memory{Size: size}, nil
}

func (m Memory) String() string {
	switch {
	case m.Half:
		return "half"
	case m.Unlimited:
		return "unlimited"
	}
	return m.Size.String()
}

// MarshalText makes a Memory the same text in JSON as in a configuration.
func (m Memory) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is the way back of MarshalText.
func (m *Memory) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMemory(string(text))
	return err
}

// maxStopTimeout is the longest wait for a container to end by itself.
const maxStopTimeout = time.Hour

// ParseStopTimeout reads the wait between a stop signal and the kill: "10s",
// "1m30s", "500ms", at most an hour.
func ParseStopTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && s != "" && strings.Trim(s, "0123456789.") == "":
		return 0, fmt.Errorf("duration %s has no unit; write %ss for seconds", quote(s), s)
	case err != nil:
		return 0, fmt.Errorf(`%s is not a duration; write one such as "10s" or "1m30s"`, quote(s))
	case d < 0 || d > maxStopTimeout:
		return 0, fmt.Errorf(`duration %s is out of range; write "0s" to "1h"`, quote(s))
	}
	return d, nil
}

// maxCPUs and maxPIDs are what the kernel could count at most: NR_CPUS of the
// largest configuration, and PID_MAX_LIMIT (linux/threads.h).
const (
	maxCPUs = 8192
	minPIDs = 16
	maxPIDs = 4 << 20
)

// ParseCPUs reads a number of processors: 0 for no limit, else 0.01 (the
// kernel's least: 1 ms of each 100 ms) and more.
func ParseCPUs(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || math.IsNaN(f) || math.IsInf(f, 0):
		return 0, fmt.Errorf("%s is not a number of processors; write one such as 1.5, or 0 for no limit", quote(s))
	case f == 0:
		return 0, nil // and not -0
	case f < 0.01 || f > maxCPUs:
		return 0, fmt.Errorf("%s processors is out of range; write 0.01 to %d, or 0 for no limit", quote(s), maxCPUs)
	}
	return f, nil
}

// ParsePIDs reads a limit on tasks.
func ParsePIDs(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && (n < minPIDs || n > maxPIDs):
		return 0, fmt.Errorf("%s tasks is out of range; write %d to %d", quote(s), minPIDs, maxPIDs)
	case err != nil:
		return 0, fmt.Errorf("%s is not a number of tasks; write one such as 4096", quote(s))
	}
	return n, nil
}

func parseBool(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", quote(s))
}

// parseChoice reads one of a few words.
func parseChoice[T ~string](s string, choices ...T) (T, error) {
	words := make([]string, len(choices))
	for i, c := range choices {
		if string(c) == s {
			return c, nil
		}
		words[i] = string(c)
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	last := len(quoted) - 1
	list := strings.Join(quoted[:last], ", ") + " or " + quoted[last]
	if near, found := nearest(s, words); found {
		return "", fmt.Errorf("%s is not a choice; did you mean %q? Write %s", quote(s), near, list)
	}
	return "", fmt.Errorf("%s is not a choice; write %s", quote(s), list)
}

// parseInsidePath reads an absolute path of the container, or nothing.
func parseInsidePath(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if err := checkText(s); err != nil {
		return "", err
	}
	if !path.IsAbs(s) || path.Clean(s) != s {
		return "", fmt.Errorf(`%s is not an absolute path without . or ..; write one such as "/bin/bash"`, quote(s))
	}
	return s, nil
}

// parseMirror reads the address of a package archive, or nothing.
func parseMirror(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	const advice = `write one such as "https://deb.debian.org/debian"`
	if err := checkText(s); err != nil {
		return "", err
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsAny(s, " []"):
		return "", fmt.Errorf("%s is not an address; %s", quote(s), advice)
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == "":
		return s, nil
	case u.Scheme == "file" && u.Host == "" && path.IsAbs(u.Path):
		return s, nil
	}
	return "", fmt.Errorf("%s is not an http, https or file address; %s", quote(s), advice)
}

// parseKeyring reads the path of a file on the host, or nothing.
func parseKeyring(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if err := checkText(s); err != nil {
		return "", err
	}
	if !path.IsAbs(s) || path.Clean(s) != s {
		return "", fmt.Errorf(`%s is not an absolute path without . or ..; write one such as "/usr/share/keyrings/debian-archive-keyring.gpg"`, quote(s))
	}
	return s, nil
}

// maxVariable and maxText bound names and values: the kernel's own limit on one
// string of an environment is 128 KiB (execve(2), MAX_ARG_STRLEN); a path ends at
// 4096 (PATH_MAX).
const (
	maxVariable = 256
	maxValue    = 64 << 10
	maxText     = 4095
)

// CheckVariable says why an environment variable can not be called so.
func CheckVariable(name string) error {
	valid := name != "" && !(name[0] >= '0' && name[0] <= '9') && len(name) <= maxVariable
	for i := 0; valid && i < len(name); i++ {
		c := name[i]
		valid = c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
	}
	if !valid {
		return fmt.Errorf("%s is not a name for a variable; use letters, digits and _, not a digit first, at most %d", quote(name), maxVariable)
	}
	return nil
}

func checkVariableValue(value string) error {
	switch {
	case len(value) > maxValue:
		return fmt.Errorf("value of %d bytes is too long; at most %d are allowed", len(value), maxValue)
	case strings.ContainsAny(value, "\x00\n\r"):
		return fmt.Errorf("%s holds a line break or a NUL, which are not allowed", quote(value))
	case !utf8.ValidString(value):
		return fmt.Errorf("%s is not UTF-8", quote(value))
	}
	return nil
}

// checkText refuses what has no place in a path or an address.
func checkText(s string) error {
	switch {
	case len(s) > maxText:
		return fmt.Errorf("%s is too long; at most %d bytes are allowed", quote(s), maxText)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", quote(s))
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s holds a control character, which is not allowed", quote(s))
	}
	return nil
}

// quote shows a value that somebody else chose: escaped, and not too much of it.
func quote(s string) string {
	const most = 64
	if len(s) <= most {
		return strconv.QuoteToASCII(s)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.QuoteToASCII(s[:cut]) + "…"
}
