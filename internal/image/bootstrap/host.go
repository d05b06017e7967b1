package bootstrap

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// hostFacts is what this machine says of its own packages.
type hostFacts struct {
	id, codename string   // of os-release(5)
	sources      []Source // apt's
	apt          []string // settings of apt that say how to reach a mirror
	auth         []byte   // apt_auth.conf(5), all of it
	env          []string // proxies
}

// readHost gathers the facts; what is not there, or can not be read, is as if it
// were not there: the machine need not be a Debian.
func readHost() hostFacts {
	var h hostFacts
	h.id, h.codename = osRelease(readBounded("/etc/os-release"))
	if h.id == "debian" {
		h.sources = append(h.sources, ParseList(readBounded("/etc/apt/sources.list"))...)
		for _, f := range glob("/etc/apt/sources.list.d/*.list") {
			h.sources = append(h.sources, ParseList(readBounded(f))...)
		}
		for _, f := range glob("/etc/apt/sources.list.d/*.sources") {
			h.sources = append(h.sources, ParseDeb822(readBounded(f))...)
		}
	}
	if dump, err := exec.Command("apt-config", "dump").Output(); err == nil {
		h.apt = reachSettings(dump)
	}
	for _, f := range append([]string{"/etc/apt/auth.conf"}, glob("/etc/apt/auth.conf.d/*.conf")...) {
		if part := readBounded(f); len(part) > 0 {
			h.auth = append(append(h.auth, part...), '\n')
		}
	}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value, is := os.LookupEnv(name); is {
			h.env = append(h.env, name+"="+value)
		}
	}
	return h
}

func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern) // fails for a bad pattern only
	return found
}

func readBounded(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSources))
	if err != nil {
		return nil
	}
	return data
}

// osRelease returns ID and VERSION_CODENAME of os-release(5).
func osRelease(data []byte) (id, codename string) {
	for line := range lines(data) {
		key, value, _ := strings.Cut(line, "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			id = value
		case "VERSION_CODENAME":
			codename = value
		}
	}
	return id, codename
}

// reachSettings picks from the output of `apt-config dump` what decides how, and
// with how much trust in the clock, this machine's apt reaches its mirrors. They
// serve while an image is made and do not go into it.
func reachSettings(dump []byte) []string {
	var picked []string
	scan := bufio.NewScanner(bytes.NewReader(dump))
	for scan.Scan() {
		line := strings.TrimSuffix(scan.Text(), ";")
		key, value, found := strings.Cut(line, " ")
		if !found || value == `""` || len(line) > maxLine || strings.ContainsAny(line, "\\") {
			continue
		}
		key = strings.ToLower(key)
		for _, prefix := range []string{
			"acquire::http::", "acquire::https::", "acquire::retries", "acquire::forceipv",
			"acquire::check-valid-until", "acquire::check-date", "acquire::max-futuretime",
		} {
			if strings.HasPrefix(key, prefix) {
				picked = append(picked, line)
				break
			}
		}
	}
	return picked
}

// HostTimezone returns this machine's time zone as in zoneinfo(5), or "".
func HostTimezone() string {
	target, err := os.Readlink("/etc/localtime")
	if err != nil {
		return ""
	}
	_, zone, _ := strings.Cut(target, "/zoneinfo/")
	if !validZone(zone) {
		return ""
	}
	return zone
}
