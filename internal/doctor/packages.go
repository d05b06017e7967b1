package doctor

import (
	"slices"
	"strings"
)

// A family is a package manager with its names for what hutch needs. A program
// that is not in it is not known to be packaged there.
type family struct {
	ids      []string // of os-release(5)
	install  string
	packages map[string]string
}

// archiveKeys stands for Debian's keyring among the packages.
const archiveKeys = "debian-archive-keyring"

var families = []family{
	{[]string{"debian", "ubuntu"}, "apt-get install", map[string]string{
		"mmdebstrap": "mmdebstrap", "xz": "xz-utils", "newuidmap": "uidmap", "newgidmap": "uidmap", archiveKeys: archiveKeys}},
	{[]string{"fedora", "rhel"}, "dnf install", map[string]string{
		"xz": "xz", "newuidmap": "shadow-utils", "newgidmap": "shadow-utils", archiveKeys: "debian-keyring"}},
	{[]string{"arch"}, "pacman -S", map[string]string{
		"xz": "xz", "newuidmap": "shadow", "newgidmap": "shadow", archiveKeys: archiveKeys}},
	{[]string{"opensuse", "suse", "opensuse-tumbleweed", "opensuse-leap"}, "zypper install", map[string]string{
		"xz": "xz", "newuidmap": "shadow", "newgidmap": "shadow"}},
}

// installCommand says how missing programs are had on a distribution.
func (s System) installCommand(programs []string) string {
	for _, id := range append([]string{s.ID}, s.Like...) {
		for _, f := range families {
			if !slices.Contains(f.ids, id) {
				continue
			}
			var packages, unknown []string
			for _, p := range programs {
				if name, known := f.packages[p]; !known {
					unknown = append(unknown, p)
				} else if !slices.Contains(packages, name) {
					packages = append(packages, name)
				}
			}
			var parts []string
			if len(packages) > 0 {
				parts = append(parts, f.install+" "+strings.Join(packages, " "))
			}
			if len(unknown) > 0 {
				parts = append(parts, "get "+strings.Join(unknown, ", ")+" from elsewhere: this distribution is not known to package it")
			}
			return strings.Join(parts, "; ")
		}
	}
	return "install " + strings.Join(programs, ", ")
}
