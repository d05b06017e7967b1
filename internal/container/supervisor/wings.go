package supervisor

import (
	"context"
	"encoding/json"
	"os"

	"github.com/hutch-project/hutch/internal/container/control"
	"github.com/hutch-project/hutch/internal/container/order"
)

// Wings are what a supervisor needs of the rest of the house.
type Wings struct {
	Network Network
	// OpenDisplay makes a container's display socket in dir, which the container
	// sees as /tmp/.X11-unix.
	OpenDisplay func(dir string, o order.Order) (Screen, error)
}

// Network attaches containers; package netd's client.
type Network interface {
	// Attach gives the namespace a port and returns what the container's files
	// must say of it.
	Attach(o order.Order, netns *os.File) (Lease, error)
	// Detach takes the port away; none is no error.
	Detach(id string) error
}

// A Lease is what a container was given on the network.
type Lease struct {
	ResolvConf []byte          // resolv.conf(5)
	Hosts      []byte          // hosts(5)
	Detail     json.RawMessage // for whoever shows it
}

// A Screen is a container's display broker.
type Screen interface {
	// Serve answers the container's programs until ctx ends.
	Serve(ctx context.Context) error
	// SetUpstream says where the person's X server is from now on.
	SetUpstream(d control.Display) error
	// Env is what programs inside must know, KEY=value.
	Env() []string
	// Words say what the display is, for people.
	Words() string
	Close() error
}
