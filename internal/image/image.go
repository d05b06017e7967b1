package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Schema is the version of an image's record on disk. An older hutch does not
// touch a newer record.
const Schema = 1

// A Spec is everything that goes into an image. Two equal ones find the same
// image in the store.
type Spec struct {
	Reference Reference
	Arch      string // amd64, arm64, …
	Mirror    string // "host", "default" or the address that was set
	Variant   string // which set of packages every image has; "system" is the one with an init
	Recipe    int    // how hutch makes an image of it; rises with each change
}

// Key is the name that an image of this spec has in the store: 64 hexadecimal
// digits.
func (s Spec) Key() string {
	// As JSON no part can run into the next.
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers can always be written
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func validKey(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}

// An Image is one that is in the store; this is its record there, too.
type Image struct {
	Schema    int       `json:"schema"`
	Key       string    `json:"key"`
	Reference string    `json:"reference"` // as String writes it
	Digest    string    `json:"digest"`    // sha256:…, of the topmost layer
	Layers    []string  `json:"layers"`    // digests, the lowest first
	Arch      string    `json:"arch"`
	Mirror    string    `json:"mirror"` // see Spec
	Recipe    int       `json:"recipe"`
	Created   time.Time `json:"created"`
	Size      int64     `json:"size"` // bytes that the topmost layer takes on disk
}

const digestPrefix = "sha256:"

// digestHex returns the hexadecimal digits of a digest, and whether it is one.
func digestHex(digest string) (string, bool) {
	digits, is := strings.CutPrefix(digest, digestPrefix)
	return digits, is && validKey(digits)
}
