package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	typeSolicitation  = 133 // RFC 4861, section 4.1
	typeAdvertisement = 134 // section 4.2

	optionSource = 1  // source link-layer address, 4.6.1
	optionPrefix = 3  // 4.6.2
	optionMTU    = 5  // 4.6.4
	optionRDNSS  = 25 // RFC 8106, section 5.1
	optionDNSSL  = 31 // RFC 8106, section 5.2
)

// A Router is what advertisements say. The zero value of a field leaves its
// option out.
type Router struct {
	Hardware net.HardwareAddr
	Prefix   netip.Prefix // the containers' network
	DNS      []netip.Addr // IPv6 ones are told
	Search   string
	MTU      int           // bytes, 1280 or more
	Lifetime time.Duration // as default router, whole seconds, at most 9000 s
}

// Advertisement returns the ICMPv6 message, with the checksum left to the
// kernel (RFC 3542, section 3.1). The prefix is neither on-link nor for
// autoconfiguration: a container's address is its record's, and a neighbour is
// reached through the router or not at all.
func (r Router) Advertisement() []byte {
	seconds := uint32(min(r.Lifetime, 9000*time.Second) / time.Second)
	m := []byte{typeAdvertisement, 0, 0, 0, 64, 0} // hop limit 64; no DHCPv6
	m = binary.BigEndian.AppendUint16(m, uint16(seconds))
	m = append(m, make([]byte, 8)...) // reachable and retransmission time: unspecified
	if len(r.Hardware) == 6 {
		m = append(m, optionSource, 1)
		m = append(m, r.Hardware...)
	}
	if r.MTU >= 1280 && r.MTU <= 65535 {
		m = append(m, optionMTU, 1, 0, 0)
		m = binary.BigEndian.AppendUint32(m, uint32(r.MTU))
	}
	if r.Prefix.IsValid() && r.Prefix.Addr().Is6() {
		m = append(m, optionPrefix, 4, byte(r.Prefix.Bits()), 0)
		m = binary.BigEndian.AppendUint32(m, seconds) // valid
		m = binary.BigEndian.AppendUint32(m, seconds) // preferred
		m = append(m, 0, 0, 0, 0)
		m = append(m, r.Prefix.Masked().Addr().AsSlice()...)
	}
	var servers []byte
	for _, a := range r.DNS {
		if a.Is6() && !a.Is4In6() && len(servers) < 3*16 {
			servers = append(servers, a.WithZone("").AsSlice()...)
		}
	}
	if len(servers) > 0 {
		m = append(m, optionRDNSS, byte(1+len(servers)/8), 0, 0)
		m = binary.BigEndian.AppendUint32(m, seconds)
		m = append(m, servers...)
	}
	if name, err := wireName(r.Search); err == nil {
		for len(name)%8 != 0 {
			name = append(name, 0)
		}
		m = append(m, optionDNSSL, byte(1+len(name)/8), 0, 0)
		m = binary.BigEndian.AppendUint32(m, seconds)
		m = append(m, name...)
	}
	return m
}

// wireName encodes a domain name (RFC 1035, section 3.1).
func wireName(name string) ([]byte, error) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return nil, fmt.Errorf("domain name of %d bytes", len(name))
	}
	var wire []byte
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return nil, fmt.Errorf("domain name with a label of %d bytes", len(label))
		}
		wire = append(append(wire, byte(len(label))), label...)
	}
	return append(wire, 0), nil
}

// CheckSolicitation says whether an ICMPv6 message, checksum and hop limit
// already checked, is a router solicitation (RFC 4861, section 6.1.1).
func CheckSolicitation(m []byte, from netip.Addr) error {
	if len(m) < 8 || len(m) > maxPacket || m[0] != typeSolicitation || m[1] != 0 {
		return errors.New("not a router solicitation")
	}
	if !from.IsUnspecified() && !from.IsLinkLocalUnicast() {
		return fmt.Errorf("solicited from %s, which is not on this link", from)
	}
	for options := m[8:]; len(options) > 0; {
		if len(options) < 2 || options[1] == 0 || int(options[1])*8 > len(options) {
			return errors.New("broken option")
		}
		if options[0] == optionSource && from.IsUnspecified() {
			return errors.New("a link-layer address from nobody")
		}
		options = options[int(options[1])*8:]
	}
	return nil
}
