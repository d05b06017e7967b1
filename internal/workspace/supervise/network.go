package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/hutch-project/hutch/internal/container/supervisor"
	"github.com/hutch-project/hutch/internal/network/api"
)

// network attaches containers through hutchd.
type network struct{ socket string }

func (n network) Attach(o supervisor.Order, netns *os.File) (supervisor.Lease, error) {
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
	return supervisor.Lease{ResolvConf: api.ResolvConf(*lease), Hosts: hosts(o.Record.Name, *lease), Detail: detail}, nil
}

// hosts is the container's hosts(5): itself by every name it has.
func hosts(name string, l api.Lease) []byte {
	own := fmt.Sprintf("%s.%s %s", name, l.Search, name)
	return fmt.Appendf(nil, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n%s %s\n%s %s\n",
		l.Address4.Addr(), own, l.Address6.Addr(), own)
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
	return c.Detach(id)
}
