package testenv

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDebianImageIsThereAndPrivate(t *testing.T) {
	tree := DebianImage(t)
	for _, name := range []string{"sbin/init", "usr/bin/apt", "etc/os-release", "usr/bin/sudo"} {
		if _, err := os.Stat(filepath.Join(tree, name)); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Dir(tree))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of images is %v, want 0700 (%v)", info.Mode(), err)
	}
}
