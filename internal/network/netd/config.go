package netd

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/hutch-project/hutch/internal/network"
)

// A Config is /etc/hutch/hutchd.toml. Subnets that are not set are chosen.
type Config struct {
	Subnet4 netip.Prefix // such as 10.87.3.0/24
	Subnet6 netip.Prefix // such as fd12:3456:789a::/64
}

// LoadConfig reads the file; one that is not there is an empty one.
func LoadConfig(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return Config{}, nil
	}
	if err != nil {
		return Config{}, err
	}
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// ParseConfig reads the configuration; an unknown key is an error that says where.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	var text struct {
		Subnet4 string `toml:"subnet4"`
		Subnet6 string `toml:"subnet6"`
	}
	decoder := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := decoder.Decode(&text); err != nil {
		var unknown *toml.StrictMissingError
		var wrong *toml.DecodeError
		switch {
		case errors.As(err, &unknown) && len(unknown.Errors) > 0:
			line, column := unknown.Errors[0].Position()
			return Config{}, fmt.Errorf("line %d, column %d: key %q is not known; there are subnet4 and subnet6", line, column, strings.Join(unknown.Errors[0].Key(), "."))
		case errors.As(err, &wrong):
			line, column := wrong.Position()
			return Config{}, fmt.Errorf("line %d, column %d: %s", line, column, wrong.Error())
		}
		return Config{}, err
	}
	for _, k := range []struct {
		name, value string
		to          *netip.Prefix
	}{{"subnet4", text.Subnet4, &c.Subnet4}, {"subnet6", text.Subnet6, &c.Subnet6}} {
		if k.value == "" {
			continue
		}
		p, err := netip.ParsePrefix(k.value)
		if err != nil {
			return Config{}, fmt.Errorf("%s = %q: must be a network such as 10.87.3.0/24", k.name, k.value)
		}
		*k.to = p
	}
	s := network.Subnets{V4: c.Subnet4, V6: c.Subnet6}
	if !s.V4.IsValid() {
		s.V4 = netip.MustParsePrefix("10.0.0.0/24")
	}
	if !s.V6.IsValid() {
		s.V6 = netip.MustParsePrefix("fd00::/64")
	}
	if err := s.Check(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// chooseSubnets decides on the subnets of a start: the configured ones, else those
// of the book, else new ones. Those of the book are given up where the host has
// another way into them by now, unless ports are in use.
func chooseSubnets(c Config, book network.Subnets, inUse bool, taken []netip.Prefix, seed string) (network.Subnets, error) {
	s := book
	if inUse && s.Check() == nil {
		return s, nil
	}
	for _, t := range taken {
		if s.V4.IsValid() && t.Bits() > 8 && t.Overlaps(s.V4) {
			s.V4 = netip.Prefix{}
		}
	}
	if c.Subnet4.IsValid() {
		s.V4 = c.Subnet4
	}
	if c.Subnet6.IsValid() {
		s.V6 = c.Subnet6
	}
	if !s.V4.IsValid() {
		var err error
		if s.V4, err = network.ChooseSubnet4(taken, seed); err != nil {
			return s, err
		}
	}
	if !s.V6.IsValid() {
		var random [5]byte
		if _, err := rand.Read(random[:]); err != nil {
			return s, err
		}
		s.V6 = network.NewSubnet6(random)
	}
	return s, s.Check()
}
