package attack

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jezek/xgb"
)

// TestMain silences the X library, which logs the end of every connection, and
// removes what the tests have built.
func TestMain(m *testing.M) {
	xgb.Logger = log.New(io.Discard, "", 0)
	status := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(status)
}

// built is the folder of hutchd, once there is one.
var built string

// hutchd is the program under attack, built once.
var hutchd = sync.OnceValues(func() (bin string, err error) {
	if built, err = os.MkdirTemp("", "hutch-attack-"); err != nil {
		return "", err
	}
	bin = filepath.Join(built, "hutchd")
	build := exec.Command("go", "build", "-o", bin, "github.com/hutch-project/hutch/cmd/hutchd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as the Makefile builds it
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build hutchd: %w: %s", err, out)
	}
	return bin, nil
})
