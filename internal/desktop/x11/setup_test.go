package x11

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSetup(t *testing.T) {
	for _, order := range []Order{Little, Big} {
		for _, auth := range []Auth{{Data: []byte{}}, {"MIT-MAGIC-COOKIE-1", []byte("0123456789abcdef")}, {"a", []byte("bcdef")}} {
			want := Setup{Order: order, Major: 11, Minor: 3, Auth: auth}
			r := bytes.NewReader(append(want.Encode(), "the first request"...))
			got, err := ReadSetup(r)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v %q: read %+v, %v", order, auth, got, err)
			}
			if rest, _ := io.ReadAll(r); string(rest) != "the first request" {
				t.Errorf("%v %q: left %q", order, auth, rest)
			}
		}
	}
	// The bytes of a real client, from the protocol's chapter 8.
	real := "l\x00\x0b\x00\x00\x00\x03\x00\x02\x00\x00\x00abc\x00de\x00\x00"
	got, err := ReadSetup(strings.NewReader(real))
	if want := (Setup{Little, 11, 0, Auth{"abc", []byte("de")}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
	for n := 1; n < len(real); n++ {
		if _, err := ReadSetup(strings.NewReader(real[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
}

func TestFailed(t *testing.T) {
	for _, order := range []Order{Little, Big} {
		for _, reason := range []string{"", "no", strings.Repeat("x", 255), strings.Repeat("ä", 200)} {
			_, err := ReadReply(bytes.NewReader(EncodeFailed(order, reason)), order)
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.HasPrefix(reason, refused.Reason) || len(refused.Reason) < min(254, len(reason)) || !utf8.ValidString(refused.Reason) {
				t.Errorf("%q came as %v", reason, err)
			}
		}
	}
}

func FuzzReadSetup(f *testing.F) {
	for _, order := range []Order{Little, Big} {
		f.Add(Setup{Order: order, Major: 11, Auth: Auth{"MIT-MAGIC-COOKIE-1", make([]byte, 16)}}.Encode())
		f.Add(Setup{Order: order, Auth: Auth{"", make([]byte, MaxAuth+1)}}.Encode())
	}
	f.Add([]byte("GET / HTTP/1.0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		s, err := ReadSetup(bytes.NewReader(sent))
		if err != nil {
			return
		}
		again, err := ReadSetup(bytes.NewReader(s.Encode()))
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%x: read %+v, then %+v, %v", sent, s, again, err)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	f.Add(EncodeFailed(Little, "why"), true)
	f.Add(EncodeFailed(Big, "why"), false)
	ok := make([]byte, 8+32+8+40+8)
	ok[0], ok[6], ok[28] = 1, byte((len(ok)-8)/4), 1
	f.Add(ok, true)
	f.Fuzz(func(t *testing.T, sent []byte, little bool) {
		order := Big
		if little {
			order = Little
		}
		reply, err := ReadReply(bytes.NewReader(sent), order)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(sent, reply) {
			t.Fatalf("%x was read as %x", sent, reply)
		}
		ParseReply(reply, order)
	})
}
