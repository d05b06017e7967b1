package control

import "strings"

// carried stands before the name of each variable of a container while it is in
// the agent's own environment. There they mean nothing to the agent itself, and
// what the runtime adds to every process (HOME, as that of its user) is not among
// them.
const carried = "hutch:"

// CarryEnv makes the environment of an agent out of variables (NAME=VALUE) that
// all commands of the container get.
func CarryEnv(env []string) []string {
	out := make([]string, 0, len(env))
	for _, variable := range env {
		out = append(out, carried+variable)
	}
	return out
}

// CarriedEnv returns the container's variables out of an agent's environment.
func CarriedEnv(environ []string) []string {
	var env []string
	for _, variable := range environ {
		if own, ok := strings.CutPrefix(variable, carried); ok {
			env = append(env, own)
		}
	}
	return env
}
