// Command screenshot writes what stands on an X screen to a PNG file. It is for
// the demonstration and for tests, which then need no other program for it.
//
//	DISPLAY=:0 XAUTHORITY=~/.Xauthority screenshot screen.png
package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"time"

	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/display"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: screenshot FILE.png")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "screenshot:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	d, _, err := desktop.Decide(desktop.Gather(ctx, desktop.Person(os.Getenv), os.Getenv))
	if err != nil {
		return err
	}
	picture, err := display.Screenshot(ctx, d)
	if err != nil {
		return err
	}
	return write(file, picture)
}

func write(file string, picture image.Image) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(png.Encode(f, picture), f.Close())
}
