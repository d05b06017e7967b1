package supervise

import (
	"context"
	"log/slog"

	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/order"
	"github.com/hutch-project/hutch/internal/container/supervisor"
	"github.com/hutch-project/hutch/internal/desktop"
	"github.com/hutch-project/hutch/internal/desktop/display"
)

// screen is a container's display broker.
type screen struct {
	broker *display.Broker
	level  string
}

func openScreen(dir string, o order.Order, log *slog.Logger) (supervisor.Screen, error) {
	uid, gid := o.HostIDs(o.Record.Person.UID, o.Record.Person.GID)
	b, err := display.New(dir, display.Options{Level: display.Level(o.Display.Level), UID: uid, GID: gid, Log: log})
	if err != nil {
		return nil, err
	}
	s := &screen{b, o.Display.Level}
	if o.Display.Upstream != nil {
		return s, s.SetUpstream(*o.Display.Upstream)
	}
	return s, nil
}

func (s *screen) Serve(ctx context.Context) error { return s.broker.Serve(ctx) }
func (s *screen) Close() error                    { return s.broker.Close() }
func (s *screen) Words() string                   { return s.level }

func (s *screen) Env() []string {
	return []string{"DISPLAY=:0", "XAUTHORITY=" + supervisor.DisplayDir + "/" + display.AuthorityName}
}

func (s *screen) SetUpstream(d control.Display) error {
	s.broker.SetUpstream(desktop.Display{
		Address:       desktop.Address{Network: d.Network, Path: d.Address},
		Number:        d.Number,
		AuthorityFile: d.AuthorityFile,
		UID:           d.UID,
	})
	return nil
}
