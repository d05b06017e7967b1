package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/hutch-project/hutch/internal/network"
)

// A match is a part of a rule; a rule is matches and what becomes of the packet.
type match []expr.Any

func join(parts ...match) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// The registers that matches load into: first, and, in a concatenation, those
// after a name of 16 bytes and after that a hardware address of 6 (padded to 8).
const (
	first       = unix.NFT_REG32_00
	afterName   = unix.NFT_REG32_04
	afterEther  = unix.NFT_REG32_06
	linkHeader  = expr.PayloadBaseLLHeader
	netHeader   = expr.PayloadBaseNetworkHeader
	protoHeader = expr.PayloadBaseTransportHeader
)

func meta(key expr.MetaKey, register uint32) *expr.Meta {
	return &expr.Meta{Key: key, Register: register}
}

func load(base expr.PayloadBase, offset, length, register uint32) *expr.Payload {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func equal(data []byte) *expr.Cmp {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: first, Data: data}
}

func unequal(data []byte) *expr.Cmp {
	return &expr.Cmp{Op: expr.CmpOpNeq, Register: first, Data: data}
}

func in(set *nftables.Set) *expr.Lookup {
	return &expr.Lookup{SourceRegister: first, SetName: set.Name, SetID: set.ID}
}

func notIn(set *nftables.Set) *expr.Lookup {
	return &expr.Lookup{SourceRegister: first, SetName: set.Name, SetID: set.ID, Invert: true}
}

// linkName is how the kernel keeps interface names: 16 bytes, filled up with zero.
func linkName(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func from(link string) match { return match{meta(expr.MetaKeyIIFNAME, first), equal(linkName(link))} }
func to(link string) match   { return match{meta(expr.MetaKeyOIFNAME, first), equal(linkName(link))} }

func toNoneOf(set *nftables.Set) match { return match{meta(expr.MetaKeyOIFNAME, first), notIn(set)} }
func toOneOf(set *nftables.Set) match  { return match{meta(expr.MetaKeyOIFNAME, first), in(set)} }
func fromOneOf(set *nftables.Set) match {
	return match{meta(expr.MetaKeyIIFNAME, first), in(set)}
}

// A family of addresses: how its header is read in the inet family.
type family struct {
	protocol     byte // nfproto
	source, dest uint32
	length       uint32
	icmp         byte
}

var (
	ip4 = family{unix.NFPROTO_IPV4, 12, 16, 4, unix.IPPROTO_ICMP}
	ip6 = family{unix.NFPROTO_IPV6, 8, 24, 16, unix.IPPROTO_ICMPV6}
)

func (f family) any() match {
	return match{meta(expr.MetaKeyNFPROTO, first), equal([]byte{f.protocol})}
}

func (f family) sourceNotIn(s *nftables.Set) match {
	return append(f.any(), load(netHeader, f.source, f.length, first), notIn(s))
}

func (f family) destIn(s *nftables.Set) match {
	return append(f.any(), load(netHeader, f.dest, f.length, first), in(s))
}

func (f family) sourceIs(a netip.Addr) match {
	return append(f.any(), load(netHeader, f.source, f.length, first), equal(a.AsSlice()))
}

func (f family) sourceIsNot(a netip.Addr) match {
	return append(f.any(), load(netHeader, f.source, f.length, first), unequal(a.AsSlice()))
}

func (f family) destIs(a netip.Addr) match {
	return append(f.any(), load(netHeader, f.dest, f.length, first), equal(a.AsSlice()))
}

func (f family) sourceWithin(p netip.Prefix) match {
	return append(f.any(), f.masked(p, equal(p.Addr().AsSlice()))...)
}

func (f family) sourceOutside(p netip.Prefix) match {
	return append(f.any(), f.masked(p, unequal(p.Addr().AsSlice()))...)
}

func (f family) masked(p netip.Prefix, c *expr.Cmp) match {
	mask := make([]byte, f.length)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return match{
		load(netHeader, f.source, f.length, first),
		&expr.Bitwise{SourceRegister: first, DestRegister: first, Len: f.length, Mask: mask, Xor: make([]byte, f.length)},
		c,
	}
}

func protocol(number byte) match {
	return match{meta(expr.MetaKeyL4PROTO, first), equal([]byte{number})}
}

func sourcePort(p uint16) match { return match{load(protoHeader, 0, 2, first), equal(big16(p))} }
func destPort(p uint16) match   { return match{load(protoHeader, 2, 2, first), equal(big16(p))} }

// icmpType matches messages of ICMP or ICMPv6.
func (f family) icmpType(number byte) match {
	return append(protocol(f.icmp), load(protoHeader, 0, 1, first), equal([]byte{number}))
}

func big16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func state(bits uint32) match { return bitOf(expr.CtKeySTATE, bits) }

// translated matches connections whose destination somebody has rewritten.
func translated() match { return bitOf(expr.CtKeySTATUS, 1<<5) } // IPS_DST_NAT

func bitOf(key expr.CtKey, bits uint32) match {
	return match{
		&expr.Ct{Register: first, Key: key},
		&expr.Bitwise{SourceRegister: first, DestRegister: first, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		unequal(make([]byte, 4)),
	}
}

// answering matches packets of the side that did not begin the connection.
func answering() match {
	return match{&expr.Ct{Register: first, Key: expr.CtKeyDIRECTION}, equal([]byte{1})}
}

const (
	invalid     = expr.CtStateBitINVALID
	established = expr.CtStateBitESTABLISHED
	related     = expr.CtStateBitRELATED
	fresh       = expr.CtStateBitNEW
)

func accept() match { return match{&expr.Verdict{Kind: expr.VerdictAccept}} }
func drop() match   { return match{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}} }

func jump(chain string) match {
	return match{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

// prohibited answers "administratively prohibited", so that a program does not
// wait for nothing.
func prohibited() match {
	return match{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}

// refuseTCP answers a connection as a machine that has no such service. An ICMP
// error would come back while the container's kernel is still in connect(2), which
// then takes it for a passing trouble and tries again a second later (tcp_v4_err).
func refuseTCP() match {
	return match{&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
}

// intervals are the elements of a set of address ranges. A range that ends with
// the last address there is has no end.
func intervals(ranges []network.Range) []nftables.SetElement {
	var all []nftables.SetElement
	for _, r := range ranges {
		all = append(all, nftables.SetElement{Key: r.First.AsSlice()})
		if end := r.Last.Next(); end.IsValid() {
			all = append(all, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return all
}

func addressElements(list []netip.Addr) []nftables.SetElement {
	var all []nftables.SetElement
	for _, a := range list {
		all = append(all, nftables.SetElement{Key: a.AsSlice()})
	}
	return all
}

func linkElements(names []string) []nftables.SetElement {
	var all []nftables.SetElement
	for _, n := range names {
		all = append(all, nftables.SetElement{Key: linkName(n)})
	}
	return all
}
