package supervise

import (
	"encoding/json"
	"errors"
	"os"

	"github.com/hutch-project/hutch/internal/container/order"
	"github.com/hutch-project/hutch/internal/container/supervisor"
	"github.com/hutch-project/hutch/internal/network/api"
)

// network attaches containers through hutchd.
type network struct{ socket string }

func (n network) Attach(o order.Order, netns *os.File) (supervisor.Lease, error) {
	c, err := api.Dial(n.socket)
	if err != nil {
		return supervisor.Lease{}, err
	}
	defer c.Close()
	lease, err := c.Attach(api.Attach{ID: o.Record.ID, Name: o.Record.Name, Policy: api.Policy(o.Network)}, netns)
	if err != nil {
		return supervisor.Lease{}, err
	}
	detail, err := json.Marshal(lease)
	if err != nil {
		return supervisor.Lease{}, err
	}
	return supervisor.Lease{ResolvConf: api.ResolvConf(*lease), Hosts: api.Hosts(*lease, o.Record.Name), Detail: detail}, nil
}

func (n network) Detach(id string) error {
	c, err := api.Dial(n.socket)
	if errors.Is(err, api.ErrNotRunning) {
		return nil // a port whose namespace ends goes by itself
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Detach(id); !errors.Is(err, api.ErrNotRunning) {
		return err
	}
	return nil
}
