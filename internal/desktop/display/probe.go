package display

import (
	"context"
	"fmt"
	"time"

	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/x11"
)

// A Server is what is known of a display's X server.
type Server struct {
	Vendor   string // its own words: escape before printing
	Release  uint32 // vendor's number: 12101007 is X.Org 21.1.7
	Screens  []x11.Screen
	Security bool // it can keep untrusted programs from others' windows
}

// Probe connects to a display as the person and asks what it is. It takes at most
// 10 seconds.
func Probe(ctx context.Context, d desktop.Display) (Server, error) {
	const timeout = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := open(ctx, d)
	if err != nil {
		return Server{}, fmt.Errorf("display %s: %w", d.Address, err)
	}
	defer client.Close()
	_, present, err := client.QueryExtension(security, timeout)
	if err != nil {
		return Server{}, fmt.Errorf("display %s: %w", d.Address, err)
	}
	return Server{client.Server.Vendor, client.Server.Release, client.Server.Screens, present}, nil
}
