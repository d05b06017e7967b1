package xauth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// Cookie is the only authorization protocol that hutch speaks: 16 secret bytes,
// shown by the client as they are (Xsecurity(7)).
const Cookie = "MIT-MAGIC-COOKIE-1"

// Limits on what a person's file may hold; real ones stay far below.
const (
	MaxFile    = 256 << 10 // bytes
	MaxRecords = 1024
)

// Families of addresses (X.h, Xauth.h).
const (
	FamilyInternet  uint16 = 0      // 4 bytes
	FamilyInternet6 uint16 = 6      // 16 bytes
	FamilyLocal     uint16 = 256    // the host's name
	FamilyWild      uint16 = 0xFFFF // matches every address
)

// A Record says what to show to one server.
type Record struct {
	Family  uint16
	Address []byte // as Family says
	Number  string // display number in decimal; empty matches every display
	Name    string // authorization protocol
	Data    []byte // the secret
}

// Parse reads a whole file: big-endian records of a 16-bit family and four strings
// with 16-bit lengths (Xau(3), "File format"). A file that is cut in the middle of
// a record gives the whole records before it, together with the error.
func Parse(file []byte) ([]Record, error) {
	if len(file) > MaxFile {
		return nil, fmt.Errorf("authority file of %d bytes: at most %d are read", len(file), MaxFile)
	}
	var records []Record
	for len(file) > 0 {
		if len(records) == MaxRecords {
			return records, fmt.Errorf("authority file: more than %d records", MaxRecords)
		}
		if len(file) < 2 {
			return records, errCut
		}
		r := Record{Family: binary.BigEndian.Uint16(file)}
		rest := file[2:]
		var fields [4][]byte
		for i := range fields {
			if len(rest) < 2 {
				return records, errCut
			}
			n := int(binary.BigEndian.Uint16(rest))
			if len(rest) < 2+n {
				return records, errCut
			}
			fields[i], rest = rest[2:2+n:2+n], rest[2+n:]
		}
		r.Address, r.Number, r.Name, r.Data = fields[0], string(fields[1]), string(fields[2]), fields[3]
		records = append(records, r)
		file = rest
	}
	return records, nil
}

var errCut = errors.New("authority file: ends within a record")

// Encode is the reverse of Parse. No field may be longer than 65535 bytes.
func Encode(records ...Record) ([]byte, error) {
	var out []byte
	for _, r := range records {
		out = binary.BigEndian.AppendUint16(out, r.Family)
		for _, field := range [][]byte{r.Address, []byte(r.Number), []byte(r.Name), r.Data} {
			if len(field) > 0xFFFF {
				return nil, fmt.Errorf("authority record: a field of %d bytes, at most 65535 fit", len(field))
			}
			out = binary.BigEndian.AppendUint16(out, uint16(len(field)))
			out = append(out, field...)
		}
	}
	return out, nil
}

// Wild returns the record that fits every address: a container's own, whatever
// host name it takes. FamilyLocal would fail with the first change of the name.
func Wild(number int, cookie []byte) Record {
	return Record{Family: FamilyWild, Number: strconv.Itoa(number), Name: Cookie, Data: cookie}
}

// A Server is what a connection goes to, as records name it.
type Server struct {
	Number   int
	Hostname string     // of this machine; used where Remote is not set or is loopback
	Remote   netip.Addr // of a connection over TCP
}

// Choose returns the record that a client should show, by the rules of
// XauGetBestAuthByAddr(3): the first one whose family and address fit or which is
// wild. Servers on this machine have records under its host name; where none fits,
// one under another host name serves, for the name may have changed since.
func Choose(records []Record, to Server) (Record, bool) {
	local := !to.Remote.IsValid() || to.Remote.IsLoopback()
	number := strconv.Itoa(to.Number)
	remote := to.Remote.Unmap()
	second := -1
	for i, r := range records {
		if r.Name != Cookie || r.Number != "" && r.Number != number {
			continue
		}
		switch {
		case r.Family == FamilyWild:
			return r, true
		case local && r.Family == FamilyLocal:
			if string(r.Address) == to.Hostname {
				return r, true
			}
			if second < 0 {
				second = i
			}
		case !local && remote.Is4() && r.Family == FamilyInternet,
			!local && remote.Is6() && r.Family == FamilyInternet6:
			if string(r.Address) == string(remote.AsSlice()) {
				return r, true
			}
		}
	}
	if second >= 0 {
		return records[second], true
	}
	return Record{}, false
}
