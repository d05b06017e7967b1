package testenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/image/bootstrap"
)

// CacheVariable names the environment variable that moves the folder of what
// tests build once per machine; without it that is /var/cache/hutch-test.
const CacheVariable = "HUTCH_TEST_CACHE"

// DebianImage returns the folder of a Debian bookworm root filesystem, owners
// unshifted, made by the real bootstrap. It is built once per machine and recipe
// and shared by all tests: nobody may write into it. The folder above it is 0700.
func DebianImage(t testing.TB) string {
	t.Helper()
	return DebianImageWith(t)
}

// DebianImageWith is DebianImage with more packages in it.
func DebianImageWith(t testing.TB, packages ...string) string {
	t.Helper()
	RequireRoot(t)
	RequireTools(t, "mmdebstrap")
	tree, err := cachedDebian(t, packages)
	if err != nil {
		t.Fatalf("build the Debian image that tests share: %v", err)
	}
	return tree
}

func cachedDebian(t testing.TB, packages []string) (tree string, err error) {
	cache := os.Getenv(CacheVariable)
	if cache == "" {
		cache = "/var/cache/hutch-test"
	}
	cache = filepath.Join(cache, "images") // 0700: setuid files in it keep their unshifted owners
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "recipe %d packages %q", bootstrap.Recipe, packages))
	name := "debian-bookworm-" + hex.EncodeToString(sum[:6])
	tree = filepath.Join(cache, name)

	lock, err := os.OpenFile(tree+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // closing unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Lstat(tree); err == nil {
		return tree, nil
	}
	t.Logf("building %s once", tree)
	half := tree + ".half"
	if err := os.RemoveAll(half); err != nil {
		return "", err
	}
	if err := os.Mkdir(half, 0o755); err != nil {
		return "", err
	}
	if _, err := bootstrap.Debian(context.Background(), bootstrap.Options{Release: "bookworm", Packages: packages}, half); err != nil {
		return "", errors.Join(err, os.RemoveAll(half))
	}
	return tree, os.Rename(half, tree)
}
