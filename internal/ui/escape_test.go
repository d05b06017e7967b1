package ui

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"plain text, ünïcode, 日本":   "plain text, ünïcode, 日本",
		"a\nb\tc\rd":                `a\nb\tc\rd`,
		"\x1b]0;owned\a":            `\x1b]0;owned\x07`,
		"\x1b[2J\x7f\x00":           `\x1b[2J\x7f\x00`,
		"\u009b31m":                 `\u009b31m`,         // C1: CSI in one character
		"\x9b31m":                   `\x9b31m`,           // the same for an 8-bit terminal, no UTF-8
		"safe\u202egnp.exe":         `safe\u202egnp.exe`, // right-to-left override
		"\u2066a\u2069\u200f\u061c": `\u2066a\u2069\u200f\u061c`,
		"no\u200bink\ufeff\u00ad":   `no\u200bink\ufeff\u00ad`,
		"line\u2028para\u2029":      `line\u2028para\u2029`,
		"tag\U000e0041":             `tag\U000e0041`,
		"\ufffd is a character":     "\ufffd is a character",
		"\xed\xa0\x80":              `\xed\xa0\x80`, // a surrogate is no character
	} {
		if got := Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
	if got := EscapeText("a\n\tb\x1b\r\n"); got != "a\n\tb\\x1b\\r\n" {
		t.Errorf("EscapeText: %q", got)
	}
}

// obeyed returns the first character that a terminal would not just draw.
func obeyed(s, keep string) (rune, bool) {
	for _, r := range s {
		if strings.ContainsRune(keep, r) {
			continue
		}
		if r < 0x20 || r >= 0x7f && r < 0xa0 || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs) {
			return r, true
		}
	}
	return 0, false
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a\nb", "\x1b[31m", "\u202e", "\x9b\xff", "日本", "\U000e0041", "\ufffd", "\\x1b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for keep, got := range map[string]string{"": Escape(s), "\n\t": EscapeText(s)} {
			if r, bad := obeyed(got, keep); bad || !utf8.ValidString(got) {
				t.Errorf("%q → %q: holds %U", s, got, r)
			}
		}
		if once := Escape(s); Escape(once) != once {
			t.Errorf("%q: escaped twice is another", s)
		}
		if w := Width(Shorten(Escape(s), 7)); w > 7 {
			t.Errorf("%q: shortened to %d columns, want 7 at most", s, w)
		}
	})
}

func FuzzWriteJSON(f *testing.F) {
	for _, s := range []string{"", "a\nb", "\x1b[31m\x7f", "\u202e\u009b", "\U000e0041", "<&>", "\\u0041"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		in := map[string]string{"key": strings.ToValidUTF8(s, "\ufffd")}
		var b strings.Builder
		if err := WriteJSON(&b, in); err != nil {
			t.Fatal(err)
		}
		if r, bad := obeyed(b.String(), "\n"); bad {
			t.Errorf("%q: holds %U", b.String(), r)
		}
		var out map[string]string
		if err := json.Unmarshal([]byte(b.String()), &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("%q read back: %q, %v", in, out, err)
		}
	})
}

func TestWriteJSON(t *testing.T) {
	var b strings.Builder
	v := struct {
		Name string `json:"name"`
		Tags []int  `json:"tags"`
	}{"<a>\u202e\x1b\x7f\U000e0041", []int{1}}
	if err := WriteJSON(&b, v); err != nil {
		t.Fatal(err)
	}
	want := "{\n  \"name\": \"<a>\\u202e\\u001b\\u007f\\udb40\\udc41\",\n  \"tags\": [\n    1\n  ]\n}\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
