package script

import (
	"strings"
	"testing"

	"github.com/hutch-project/hutch/internal/testenv"
)

func TestFirst(t *testing.T) {
	h := testenv.NewHutch(t)
	h.Must("create", "ff", "debian/bookworm")
	h.Must("start", "ff")
	if out := h.Must("exec", "ff", "--", "id", "-un"); strings.TrimSpace(out) != "root" {
		t.Errorf("got %q", out)
	}
	t.Log(h.Must("info", "ff"))
	t.Log(h.Exec("ff", "ip addr; ip route; cat /etc/resolv.conf /etc/hosts; systemctl is-system-running --wait"))
}
