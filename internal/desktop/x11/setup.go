package x11

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// MaxAuth is the longest authorization name or data that is accepted; the real
// ones have 18 and 16 bytes.
const MaxAuth = 256

// Auth is what a client shows to be let in: the name of an authorization protocol
// and a secret. The zero value shows nothing.
type Auth struct {
	Name string
	Data []byte
}

// A Setup is the first thing a client sends (X11 protocol, chapter 8).
type Setup struct {
	Order        Order
	Major, Minor uint16 // of the protocol
	Auth         Auth
}

// An Order is the byte order of a connection; the client chooses it.
type Order struct{ binary.ByteOrder }

// The two byte orders.
var (
	Big    = Order{binary.BigEndian}
	Little = Order{binary.LittleEndian}
)

func (o Order) letter() byte {
	if o == Big {
		return 'B'
	}
	return 'l'
}

// ErrNotX11 is returned for a first byte that begins no X11 connection.
var ErrNotX11 = errors.New("not the beginning of an X11 connection")

// ReadSetup reads exactly one setup from a client. Where the setup is refused for
// its size, the Order is set nevertheless, so that the refusal can be sent.
func ReadSetup(r io.Reader) (Setup, error) {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Setup{}, err
	}
	s := Setup{}
	switch head[0] {
	case 'B':
		s.Order = Big
	case 'l':
		s.Order = Little
	default:
		return Setup{}, ErrNotX11
	}
	s.Major, s.Minor = s.Order.Uint16(head[2:]), s.Order.Uint16(head[4:])
	nameLen, dataLen := int(s.Order.Uint16(head[6:])), int(s.Order.Uint16(head[8:]))
	if nameLen > MaxAuth || dataLen > MaxAuth {
		return s, fmt.Errorf("authorization of %d and %d bytes, at most %d are read", nameLen, dataLen, MaxAuth)
	}
	body := make([]byte, padded(nameLen)+padded(dataLen))
	if _, err := io.ReadFull(r, body); err != nil {
		return s, noEOF(err)
	}
	s.Auth.Name = string(body[:nameLen])
	s.Auth.Data = body[padded(nameLen):][:dataLen]
	return s, nil
}

// Encode is the reverse of ReadSetup.
func (s Setup) Encode() []byte {
	out := make([]byte, 12+padded(len(s.Auth.Name))+padded(len(s.Auth.Data)))
	out[0] = s.Order.letter()
	s.Order.PutUint16(out[2:], s.Major)
	s.Order.PutUint16(out[4:], s.Minor)
	s.Order.PutUint16(out[6:], uint16(len(s.Auth.Name)))
	s.Order.PutUint16(out[8:], uint16(len(s.Auth.Data)))
	copy(out[12:], s.Auth.Name)
	copy(out[12+padded(len(s.Auth.Name)):], s.Auth.Data)
	return out
}

// EncodeFailed is a server's answer to a setup it refuses. The reason is cut to
// the 255 bytes that fit; clients print it.
func EncodeFailed(order Order, reason string) []byte {
	if len(reason) > 255 {
		reason = reason[:255]
		for !utf8.ValidString(reason) {
			reason = reason[:len(reason)-1]
		}
	}
	out := make([]byte, 8+padded(len(reason)))
	out[1] = byte(len(reason))
	order.PutUint16(out[2:], 11)
	order.PutUint16(out[6:], uint16(padded(len(reason))/4))
	copy(out[8:], reason)
	return out
}

// A RefusedError is a server's refusal of a setup, in the server's words.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return fmt.Sprintf("the X server refused: %q", e.Reason) }

// ReadReply reads a server's whole answer to a setup, at most 256 KiB, and returns
// it as it came. An answer that does not let the client in is a *RefusedError.
func ReadReply(r io.Reader, order Order) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	reply := make([]byte, 8+4*int(order.Uint16(head[6:])))
	copy(reply, head[:])
	if _, err := io.ReadFull(r, reply[8:]); err != nil {
		return nil, noEOF(err)
	}
	switch head[0] {
	case 1:
		return reply, nil
	case 0: // Failed
		return nil, &RefusedError{string(reply[8:][:min(int(head[1]), len(reply)-8)])}
	case 2: // Authenticate: more would have to be said, in a protocol that nobody implements
		return nil, &RefusedError{"further authentication is asked for"}
	}
	return nil, fmt.Errorf("the X server's answer begins with %d: %w", head[0], ErrNotX11)
}

// A Server is what a successful setup tells.
type Server struct {
	Vendor  string // the server's own words: escape before printing
	Release uint32 // vendor's number: 12101007 is X.Org 21.1.7
	Screens []Screen
}

// A Screen is one root window.
type Screen struct {
	Root          uint32 // window
	Width, Height uint16 // pixels
	Depth         uint8  // bits
}

// ParseReply reads the answer that ReadReply returned.
func ParseReply(reply []byte, order Order) (Server, error) {
	cut := errors.New("the X server's answer is cut")
	if len(reply) < 40 {
		return Server{}, cut
	}
	s := Server{Release: order.Uint32(reply[8:])}
	vendorLen, screens, formats := int(order.Uint16(reply[24:])), int(reply[28]), int(reply[29])
	rest := reply[40:]
	if len(rest) < padded(vendorLen)+8*formats {
		return Server{}, cut
	}
	s.Vendor = string(rest[:vendorLen])
	rest = rest[padded(vendorLen)+8*formats:]
	for range screens {
		if len(rest) < 40 {
			return Server{}, cut
		}
		s.Screens = append(s.Screens, Screen{
			Root:  order.Uint32(rest),
			Width: order.Uint16(rest[20:]), Height: order.Uint16(rest[22:]),
			Depth: rest[38],
		})
		depths := int(rest[39])
		rest = rest[40:]
		for range depths {
			if len(rest) < 8 {
				return Server{}, cut
			}
			size := 8 + 24*int(order.Uint16(rest[2:]))
			if len(rest) < size {
				return Server{}, cut
			}
			rest = rest[size:]
		}
	}
	return s, nil
}

func padded(n int) int { return (n + 3) &^ 3 }

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
