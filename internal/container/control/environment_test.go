package control

import (
	"slices"
	"testing"
)

// What the runtime puts beside the container's variables stays behind.
func TestCarriedEnvIsTheContainersAlone(t *testing.T) {
	env := []string{"DISPLAY=:0", "HOME=/of/the/configuration", "EMPTY=", "GODEBUG=x=1"}
	environ := append(CarryEnv(env), "HOME=/root", "PATH=/bin")
	if got := CarriedEnv(environ); !slices.Equal(got, env) {
		t.Errorf("got %q, not %q", got, env)
	}
}
