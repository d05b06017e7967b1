package main

import (
	"bytes"
	"errors"

	"github.com/hutch-project/hutch/internal/cli"
)

// completionScripts are the shells' completions, by the names under which the
// shells look for them.
func completionScripts() (map[string][]byte, error) {
	root := cli.Root()
	var bash, zsh, fish bytes.Buffer
	err := errors.Join(root.GenBashCompletionV2(&bash, true), root.GenZshCompletion(&zsh), root.GenFishCompletion(&fish, true))
	return map[string][]byte{"hutch.bash": bash.Bytes(), "_hutch": zsh.Bytes(), "hutch.fish": fish.Bytes()}, err
}
