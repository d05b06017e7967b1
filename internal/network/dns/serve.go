package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

const (
	idleTime  = 10 * time.Second // between two questions on a connection (RFC 7766, section 6.2.3)
	writeTime = 5 * time.Second
)

// A Socket is one address that questions come to.
type Socket struct {
	Packets net.PacketConn
	Streams net.Listener
}

// Listen makes the sockets of an address, port 53, in the calling thread's
// network namespace. The address may be one that is still being set up there.
func Listen(addr netip.Addr) (Socket, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var optErr error
		err := raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) })
		return errors.Join(err, optErr)
	}}
	at := netip.AddrPortFrom(addr, 53).String()
	packets, err := config.ListenPacket(context.Background(), "udp", at)
	if err != nil {
		return Socket{}, fmt.Errorf("listen for DNS: %w", err)
	}
	streams, err := config.Listen(context.Background(), "tcp", at)
	if err != nil {
		packets.Close()
		return Socket{}, fmt.Errorf("listen for DNS: %w", err)
	}
	return Socket{packets, streams}, nil
}

// Serve answers on the sockets until ctx ends, which is no error, or one of them
// breaks. It takes them over and closes them, and leaves nothing running.
func (s *Server) Serve(ctx context.Context, sockets ...Socket) error {
	whole := ctx
	ctx, cancel := context.WithCancelCause(whole)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, socket := range sockets {
		stop := context.AfterFunc(ctx, func() {
			socket.Packets.Close()
			socket.Streams.Close()
		})
		defer stop()
		running.Go(func() { cancel(s.packets(ctx, socket.Packets, &running)) })
		running.Go(func() { cancel(s.streams(ctx, socket.Streams, &running)) })
	}
	<-ctx.Done()
	running.Wait()
	if whole.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func (s *Server) packets(ctx context.Context, conn net.PacketConn, running *sync.WaitGroup) error {
	buffer := make([]byte, maxQuery+1)
	for failures := 0; ; {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			if failures++; giveUp(ctx, err, failures) {
				return fmt.Errorf("dns: %w", err)
			}
			continue
		}
		failures = 0
		client, ok := clientOf(from)
		if !ok {
			continue
		}
		q, ok := read(buffer[:n])
		if !ok {
			continue
		}
		send := func(m *dns.Msg) {
			packet, err := pack(m, q, udpLimit(q))
			if err == nil {
				_, err = conn.WriteTo(packet, from)
			}
			if err != nil && ctx.Err() == nil {
				s.Log.Debug("dns: answer not sent", "client", client, "err", err)
			}
		}
		if m := s.here(client, q, time.Now()); m != nil {
			send(m)
			continue
		}
		if s.asking.full(client) { // before a goroutine is made of it
			send(failure(q))
			continue
		}
		running.Go(func() { send(s.away(ctx, client, q)) })
	}
}

func (s *Server) streams(ctx context.Context, listener net.Listener, running *sync.WaitGroup) error {
	for failures := 0; ; {
		conn, err := listener.Accept()
		if err != nil {
			if failures++; giveUp(ctx, err, failures) {
				return fmt.Errorf("dns: %w", err)
			}
			continue
		}
		failures = 0
		client, ok := clientOf(conn.RemoteAddr())
		if !ok || !s.talking.enter(client) {
			conn.Close()
			continue
		}
		running.Go(func() {
			defer s.talking.leave(client)
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			s.talk(ctx, conn, client)
		})
	}
}

// talk answers the questions of one connection, one after the other.
func (s *Server) talk(ctx context.Context, conn net.Conn, client netip.Addr) {
	for {
		if conn.SetReadDeadline(time.Now().Add(idleTime)) != nil {
			return
		}
		packet, err := readFrame(conn, maxQuery)
		if err != nil {
			return
		}
		q, ok := read(packet)
		if !ok {
			return
		}
		m := s.here(client, q, time.Now())
		if m == nil {
			m = s.away(ctx, client, q)
		}
		packet, err = pack(m, q, dns.MaxMsgSize)
		if err != nil || conn.SetWriteDeadline(time.Now().Add(writeTime)) != nil || writeFrame(conn, packet) != nil {
			return
		}
	}
}

// giveUp waits a little after a failure that may pass, and says when it did not.
func giveUp(ctx context.Context, err error, failures int) bool {
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) || failures >= 100 {
		return true
	}
	select {
	case <-ctx.Done():
		return true
	case <-time.After(100 * time.Millisecond):
		return false
	}
}

// readFrame reads a message of at most size bytes with its length before it (RFC
// 1035, section 4.2.2).
func readFrame(r io.Reader, size int) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > size {
		return nil, fmt.Errorf("message of %d bytes", n)
	}
	packet := make([]byte, n)
	_, err := io.ReadFull(r, packet)
	return packet, err
}

func writeFrame(w io.Writer, packet []byte) error {
	if len(packet) > dns.MaxMsgSize {
		return fmt.Errorf("message of %d bytes", len(packet))
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(packet)), uint16(len(packet)))
	_, err := w.Write(append(frame, packet...))
	return err
}
