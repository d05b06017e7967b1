package netd

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/hutch-project/hutch/internal/network"
	"github.com/hutch-project/hutch/internal/network/bridge"
	"github.com/hutch-project/hutch/internal/network/dhcp"
	"github.com/hutch-project/hutch/internal/network/dns"
	"github.com/hutch-project/hutch/internal/network/resolver"
)

// Answers makes what answers containers in the router: DHCP and router
// advertisements from the records, and names. The sockets are the router's;
// servers upstream are asked from the host's namespace, so that a resolver of the
// home network answers a container that can not reach it.
func Answers(log *slog.Logger) func(*Engine) ([]Service, error) {
	return func(e *Engine) ([]Service, error) {
		var leases, advertisements net.PacketConn
		var names [2]dns.Socket
		gateways := []netip.Addr{e.Subnets().Gateway4(), e.Subnets().Gateway6()}
		err := e.router.In(func() (err error) {
			if leases, err = dhcp.Listen4(bridge.Bridge); err != nil {
				return err
			}
			if advertisements, err = dhcp.ListenRA(bridge.Bridge); err != nil {
				return err
			}
			for i, gateway := range gateways {
				if names[i], err = dns.Listen(gateway); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		upstream := resolver.Follow("/", gateways, func(why string) { log.Info("names are asked upstream", "why", why) })
		server := dns.New(dns.Config{
			Domain: network.Domain, Gateway: gateways, Records: records{e}, Upstreams: upstream.Servers, Log: log,
			Dial: func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, server.String())
			},
		})
		return []Service{
			service(func(ctx context.Context) error { return dhcp.Serve4(ctx, leases, e.LeaseOf, log) }),
			service(func(ctx context.Context) error { return dhcp.ServeRA(ctx, advertisements, e.advertised, log) }),
			service(func(ctx context.Context) error { return server.Serve(ctx, names[0], names[1]) }),
		}, nil
	}
}

// A service is a function that serves.
type service func(context.Context) error

// Serve runs it; the end of ctx is no failure.
func (s service) Serve(ctx context.Context) error {
	err := s(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// advertised is what the router says of itself to containers.
func (e *Engine) advertised() dhcp.Router {
	e.mu.Lock()
	defer e.mu.Unlock()
	return dhcp.Router{
		Hardware: bridge.GatewayMAC(), Prefix: e.book.Subnets.V6, DNS: []netip.Addr{e.book.Subnets.Gateway6()},
		Search: network.Domain, MTU: e.outside.MTU, Lifetime: dhcp.RouterLifetime,
	}
}

// records are the names that containers may know, from nothing but the engine's
// own book.
type records struct{ e *Engine }

func (r records) Addresses(client netip.Addr, label string) ([]netip.Addr, bool) {
	found := r.e.Lookup(client, label)
	return found, len(found) > 0
}

func (r records) Name(client, address netip.Addr) (string, bool) {
	for _, a := range r.e.List(0) {
		own := []netip.Addr{a.Lease.Address4.Addr(), a.Lease.Address6.Addr()}
		if slices.Contains(own, address) && len(r.e.Lookup(client, a.Name)) > 0 {
			return a.Name, true
		}
	}
	return "", false
}
