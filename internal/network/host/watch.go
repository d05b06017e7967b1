package host

import (
	"context"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Watch calls changed whenever links, addresses, routes or nftables rules of the
// host may have changed, until the context ends. It is called often and from
// several goroutines: it should only take a note.
func Watch(ctx context.Context, changed func()) error {
	routes, err := nl.Subscribe(unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return fmt.Errorf("watch the host's routes: %w", err)
	}
	rules, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		routes.Close()
		return fmt.Errorf("watch the host's rules: %w", err)
	}
	for _, socket := range []*nl.NetlinkSocket{routes, rules} {
		context.AfterFunc(ctx, socket.Close)
		go func() {
			for ctx.Err() == nil {
				// An error is an overrun of the queue: something has changed, too.
				_, _, err := socket.Receive()
				if ctx.Err() == nil {
					changed()
				}
				if err == unix.EBADF {
					return
				}
			}
		}()
	}
	return nil
}
