package config

import _ "embed"

// Reference is a configuration that says every key with its default and what it
// means. A line that begins with # and no space is a setting that has no default.
//
//go:embed reference.toml
var Reference []byte
