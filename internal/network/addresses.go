package network

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// An AddressBook remembers which host number belongs to which container. Numbers
// outlive the port and hutchd; they are the same in both families.
type AddressBook struct {
	Schema  int               `json:"schema"`
	Subnets Subnets           `json:"subnets"`
	Numbers map[string]uint32 `json:"numbers"` // by the container's id
}

// AddressBookSchema is the version of the book on disk.
const AddressBookSchema = 1

// Number returns the container's host number and takes a free one where it has
// none: the first free one from where a hash of the id points. taken says whether
// the book has changed.
func (b *AddressBook) Number(id string) (n uint32, taken bool, err error) {
	first, last := uint32(2), size4(b.Subnets.V4)-3 // after the gateway, before the host's link
	used := make(map[uint32]bool, len(b.Numbers))
	for _, n := range b.Numbers {
		used[n] = true
	}
	if n, known := b.Numbers[id]; known && n >= first && n <= last {
		return n, false, nil
	}
	sum := sha256.Sum256([]byte("address " + id))
	count := last - first + 1
	start := binary.BigEndian.Uint32(sum[:4]) % count
	for i := range count {
		n := first + (start+i)%count
		if n == 0xfe || used[n] { // fe is the host's link in the IPv6 network
			continue
		}
		if b.Numbers == nil {
			b.Numbers = map[string]uint32{}
		}
		b.Numbers[id] = n
		return n, true, nil
	}
	return 0, false, fmt.Errorf("all %d addresses of %v are given away; remove containers or set a larger subnet4 in hutchd.toml", count, b.Subnets.V4)
}

// MAC returns the container's hardware address: locally administered, unicast, 46
// bits of a hash of its id.
func MAC(id string) net.HardwareAddr {
	sum := sha256.Sum256([]byte("mac " + id))
	mac := net.HardwareAddr(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// LinkLocal returns the address that a stack makes of a hardware address (RFC
// 4291, appendix A).
func LinkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80,
		8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// PortName is the router's end of a container's link. It fits the kernel's 15
// characters and differs between containers as far as 56 bits of their ids do.
func PortName(id string) string { return "p" + id[:14] }

// CheckID says why a container's id is none: it is 32 hexadecimal digits.
func CheckID(id string) error {
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return fmt.Errorf("id %.40q: must be 32 hexadecimal digits", id)
	}
	return nil
}

// reserved names mean something else to those who ask for them.
var reserved = []string{"localhost", "wpad", "isatap", "hutch", "gateway"}

// CheckName says why a container can not have this name in DNS. It must be one
// label (RFC 1123, section 2.1).
func CheckName(name string) error {
	if len(name) == 0 || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
		name[0] == '-' || name[len(name)-1] == '-' {
		return fmt.Errorf("name %.70q: must be one DNS label of a-z, 0-9 and inner hyphens, at most 63 characters", name)
	}
	for _, r := range reserved {
		if name == r {
			return fmt.Errorf("name %q is reserved", name)
		}
	}
	return nil
}
