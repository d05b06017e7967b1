package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hutch-project/hutch/internal/network/api"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// LeaseTime is what clients are told. The address stays the record's whether or
// not they renew; a short time makes a changed gateway or DNS server known.
const LeaseTime = time.Hour

// maxPacket bounds what is read, in bytes: an Ethernet frame's worth.
const maxPacket = 1500

// Lookup returns the lease of the container with that hardware address.
type Lookup func(mac net.HardwareAddr) (api.Lease, bool)

// A Reply is one packet to send, with the layers below it.
type Reply struct {
	Packet []byte
	Peer   Peer
}

// errIgnored says that a packet deserves no answer.
var errIgnored = errors.New("ignored")

func ignored(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errIgnored}, args...)...)
}

// Answer decides what one packet from a client is answered with (RFC 2131,
// section 4.3); nil means nothing, and the error says why. What the client says
// of itself (options 12 and 81) is not looked at.
func Answer(packet []byte, lookup Lookup) (*Reply, error) {
	if len(packet) > maxPacket {
		return nil, ignored("%d bytes", len(packet))
	}
	q, err := dhcpv4.FromBytes(packet)
	if err != nil {
		return nil, ignored("%v", err)
	}
	mac := q.ClientHWAddr
	switch {
	case q.OpCode != dhcpv4.OpcodeBootRequest:
		return nil, ignored("not a request")
	case q.HWType != iana.HWTypeEthernet || len(mac) != 6 || mac[0]&1 != 0:
		return nil, ignored("hardware address %s", mac)
	case !q.GatewayIPAddr.IsUnspecified():
		return nil, ignored("relayed") // there is no relay between the router and its containers
	}
	lease, ok := lookup(mac)
	if !ok {
		return nil, ignored("no record of %s", mac)
	}
	if !lease.Address4.IsValid() || !lease.Gateway4.IsValid() {
		return nil, ignored("%s has no IPv4 address", mac)
	}
	own := lease.Address4.Addr()
	asked, _ := netip.AddrFromSlice(q.RequestedIPAddress().To4())
	current, _ := netip.AddrFromSlice(q.ClientIPAddr.To4())
	server, _ := netip.AddrFromSlice(q.ServerIdentifier().To4())

	switch kind := q.MessageType(); kind {
	case dhcpv4.MessageTypeDiscover:
		return reply(q, lease, dhcpv4.MessageTypeOffer), nil
	case dhcpv4.MessageTypeRequest:
		wanted := current // renewing or rebinding
		if asked.IsValid() && !asked.IsUnspecified() {
			wanted = asked // selecting, or rebooting
		}
		switch {
		case server.IsValid() && server != lease.Gateway4:
			return nil, ignored("%s took another server's offer", mac)
		case wanted != own:
			return reply(q, lease, dhcpv4.MessageTypeNak), nil
		}
		return reply(q, lease, dhcpv4.MessageTypeAck), nil
	case dhcpv4.MessageTypeInform:
		if current != own {
			return nil, ignored("%s informs from %s, which is not its own", mac, current)
		}
		return reply(q, lease, dhcpv4.MessageTypeAck), nil
	case dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline:
		return nil, ignored("%s from %s: the address stays the record's", kind, mac)
	default:
		return nil, ignored("message type %d", kind)
	}
}

func reply(q *dhcpv4.DHCPv4, lease api.Lease, kind dhcpv4.MessageType) *Reply {
	gateway := net.IP(lease.Gateway4.AsSlice())
	own := lease.Address4.Addr()
	r := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        iana.HWTypeEthernet,
		TransactionID: q.TransactionID,
		Flags:         q.Flags,
		ClientIPAddr:  net.IPv4zero,
		YourIPAddr:    net.IPv4zero,
		ServerIPAddr:  net.IPv4zero,
		GatewayIPAddr: net.IPv4zero,
		ClientHWAddr:  q.ClientHWAddr,
		Options:       make(dhcpv4.Options),
	}
	r.UpdateOption(dhcpv4.OptMessageType(kind))
	r.UpdateOption(dhcpv4.OptServerIdentifier(gateway))
	if id := q.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 && len(id) <= 64 { // RFC 6842
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, bytes.Clone(id)))
	}
	// The frame goes to the client's own hardware address even where the packet
	// is a broadcast one: the other containers have no business with it.
	peer := Peer{Hardware: q.ClientHWAddr, From: lease.Gateway4, To: own}
	if kind == dhcpv4.MessageTypeNak {
		peer.To = broadcast // the client's address is wrong, or it would not be refused
		return &Reply{r.ToBytes(), peer}
	}
	if q.IsBroadcast() && q.ClientIPAddr.IsUnspecified() {
		peer.To = broadcast
	}
	if q.MessageType() == dhcpv4.MessageTypeInform {
		r.ClientIPAddr = own.AsSlice() // no address and no lease time (RFC 2131, 4.3.5)
	} else {
		r.YourIPAddr = own.AsSlice()
		if q.MessageType() == dhcpv4.MessageTypeRequest {
			r.ClientIPAddr = q.ClientIPAddr
		}
		r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(LeaseTime))
	}
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(lease.Address4.Bits(), 32)))
	r.UpdateOption(dhcpv4.OptRouter(gateway))
	var servers []net.IP
	for _, a := range lease.DNS {
		if a.Is4() && len(servers) < 3 { // what resolv.conf(5) takes
			servers = append(servers, a.AsSlice())
		}
	}
	if len(servers) > 0 {
		r.UpdateOption(dhcpv4.OptDNS(servers...))
	}
	if lease.Search != "" {
		r.UpdateOption(dhcpv4.OptDomainName(lease.Search))
	}
	if lease.MTU >= 576 && lease.MTU <= 65535 { // RFC 791's least datagram; option 26 has 16 bits
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, []byte{byte(lease.MTU >> 8), byte(lease.MTU)}))
	}
	return &Reply{r.ToBytes(), peer}
}
