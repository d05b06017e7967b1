// Hutch runs programs that are not trusted in containers of their own.
package main

import (
	"os"

	"github.com/hutch-project/hutch/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
