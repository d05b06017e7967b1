package unpack

import (
	"encoding/binary"
	"errors"
)

// Revisions of the security.capability attribute (linux/capability.h): the
// second has 20 bytes, the third the same and the root user of the namespace it
// is valid in.
const (
	capRevisionMask = 0xFF000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
	capSize2        = 20
	capSize3        = 24
)

// Capability turns a security.capability attribute of the second or third
// revision into one of the second, which belongs to no user namespace: the form
// that an unshifted tree holds.
func Capability(attr []byte) ([]byte, error) {
	if len(attr) < 4 {
		return nil, errors.New("file capability: too short")
	}
	magic := binary.LittleEndian.Uint32(attr)
	switch {
	case magic&capRevisionMask == capRevision2 && len(attr) == capSize2:
		return attr, nil
	case magic&capRevisionMask == capRevision3 && len(attr) == capSize3:
		v2 := append([]byte(nil), attr[:capSize2]...)
		binary.LittleEndian.PutUint32(v2, magic&^capRevisionMask|capRevision2)
		return v2, nil
	}
	return nil, errors.New("file capability: of an unknown kind")
}
