package bootstrap

// Recipe counts the changes to what this package puts into an image. Whoever
// looks for a stored image looks for one of this recipe; raise it with every
// change to the packages or to the dressing below.
const Recipe = 1

// A release says which suites make up a Debian release
// (https://wiki.debian.org/SourcesList).
type release struct {
	updates  bool // RELEASE-updates, from the same mirror
	security bool // RELEASE-security, from the security mirror
	firmware bool // has the component non-free-firmware
}

// releases lists what is known of Debian's releases. Of one that is not here the
// mirror is asked for the plain suite alone.
var releases = map[string]release{
	"bullseye": {updates: true, security: true},
	"bookworm": {updates: true, security: true, firmware: true},
	"trixie":   {updates: true, security: true, firmware: true},
	"forky":    {updates: true, security: true, firmware: true},
	"sid":      {firmware: true},
}
