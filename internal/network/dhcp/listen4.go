package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	serverPort = 67 // RFC 2131, section 4.1
	clientPort = 68
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// A Peer is where an answer goes: the frame to Hardware, the packet in it from
// From, port 67, to To, port 68.
type Peer struct {
	Hardware net.HardwareAddr
	From, To netip.Addr // IPv4
}

func (*Peer) Network() string  { return "dhcp" }
func (p *Peer) String() string { return p.To.String() + "@" + p.Hardware.String() }

// A conn4 receives by UDP, so that the firewall of the namespace is heard, and
// sends frames: a client without an address answers no ARP, and a broadcast
// would tell every container on the bridge.
type conn4 struct {
	*net.UDPConn
	frames  *os.File
	ifindex int
}

// Listen4 makes the server's socket on an interface of the calling thread's
// network namespace. It needs CAP_NET_RAW and CAP_NET_BIND_SERVICE there. Its
// WriteTo takes a *Peer.
func Listen4(iface string) (net.PacketConn, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("listen for DHCP: %w", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var optErr error
		err := raw.Control(func(fd uintptr) {
			optErr = errors.Join(
				unix.BindToDevice(int(fd), iface),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		})
		return errors.Join(err, optErr)
	}}
	udp, err := config.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", serverPort))
	if err != nil {
		return nil, fmt.Errorf("listen for DHCP on %s: %w", iface, err)
	}
	// Protocol 0: this socket receives nothing (packet(7)).
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		udp.Close()
		return nil, fmt.Errorf("listen for DHCP on %s: %w", iface, os.NewSyscallError("socket", err))
	}
	return &conn4{udp.(*net.UDPConn), os.NewFile(uintptr(fd), "dhcp frames"), ifi.Index}, nil
}

func (c *conn4) WriteTo(payload []byte, to net.Addr) (int, error) {
	peer, ok := to.(*Peer)
	if !ok || len(peer.Hardware) != 6 {
		return 0, fmt.Errorf("send to %v: not a client with a hardware address", to)
	}
	address := &unix.SockaddrLinklayer{
		Protocol: binary.NativeEndian.Uint16([]byte{0x08, 0x00}), // ETH_P_IP, in network order
		Ifindex:  c.ifindex,
		Halen:    6,
	}
	copy(address.Addr[:], peer.Hardware)
	raw, err := c.frames.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) { // a full queue drops the answer; clients ask again
		sendErr = unix.Sendto(int(fd), datagram(payload, peer.From, peer.To), 0, address)
	})
	if err := errors.Join(err, sendErr); err != nil {
		return 0, err
	}
	return len(payload), nil
}

func (c *conn4) Close() error { return errors.Join(c.UDPConn.Close(), c.frames.Close()) }

// datagram puts the IPv4 header (RFC 791) and the UDP header (RFC 768) before a
// payload from the server's port to the client's.
func datagram(payload []byte, from, to netip.Addr) []byte {
	const ipSize, udpSize = 20, 8
	p := make([]byte, ipSize+udpSize+len(payload))
	ip, udp := p[:ipSize], p[ipSize:]
	src, dst := from.As4(), to.As4()

	ip[0] = 4<<4 | ipSize/4
	ip[1] = 0xc0 // DSCP CS6, as for routing and control (RFC 4594)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(p)))
	ip[8] = 64 // hops
	ip[9] = unix.IPPROTO_UDP
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))

	binary.BigEndian.PutUint16(udp[0:], serverPort)
	binary.BigEndian.PutUint16(udp[2:], clientPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[udpSize:], payload)
	pseudo := uint32(unix.IPPROTO_UDP) + uint32(len(udp))
	for _, a := range [][4]byte{src, dst} {
		pseudo += uint32(binary.BigEndian.Uint16(a[:2])) + uint32(binary.BigEndian.Uint16(a[2:]))
	}
	checksum := ^sum(pseudo, udp)
	if checksum == 0 { // zero would mean none
		checksum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], checksum)
	return p
}

// sum is the ones' complement sum of RFC 1071.
func sum(start uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		start += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}
