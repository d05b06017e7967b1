package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"
)

// Each container may ask ten times at once and then once a second; a client that
// boots asks two to four times.
const (
	askBurst    = 10
	askInterval = time.Second
	askPlaces   = 4096
)

// Serve4 answers DHCPv4 clients on conn until ctx ends, which is no error. It
// takes the connection over and closes it. Answers are written to a Peer, as the
// connection of Listen4 understands it. log may be nil.
func Serve4(ctx context.Context, conn net.PacketConn, lookup Lookup, log *slog.Logger) error {
	log = orDiscard(log)
	limit := newLimiter(askBurst, askInterval, askPlaces)
	return receive(ctx, conn, maxPacket, func(packet []byte, _ net.Addr) {
		reply, err := Answer(packet, lookup)
		if err != nil {
			log.Debug("dhcp", "why", err)
			return
		}
		if !limit.allow(string(reply.Peer.Hardware), time.Now()) {
			log.Debug("dhcp", "why", "too often", "mac", reply.Peer.Hardware)
			return
		}
		if _, err := conn.WriteTo(reply.Packet, &reply.Peer); err != nil {
			log.Warn("dhcp: answer not sent", "mac", reply.Peer.Hardware, "err", err)
		}
	})
}

// receive hands packets of at most size bytes to f, one at a time, until ctx
// ends or the connection breaks for good. Longer packets are dropped.
func receive(ctx context.Context, conn net.PacketConn, size int, f func(packet []byte, from net.Addr)) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		stop()
		conn.Close()
	}()
	buffer := make([]byte, size+1)
	failures := 0
	for {
		n, from, err := conn.ReadFrom(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("receive: %w", err)
		case err != nil: // such as ENETDOWN while the bridge is being made anew
			if failures++; failures == 100 {
				return fmt.Errorf("receive: %w", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		failures = 0
		if n <= size {
			f(buffer[:n], from)
		}
	}
}

func orDiscard(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}
