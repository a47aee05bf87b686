package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeUnits are the suffixes of a size, in powers of 1024.
const sizeUnits = "KMGTPE"

// ParseSize returns the bytes that a text means: a number of them, or of units
// of 1024 with a suffix: 4096, 512M, 2GiB.
func ParseSize(text string) (int64, error) {
	digits, suffix := text, ""
	if i := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits, suffix = text[:i], text[i:]
	}
	unit, ok := sizeUnit(suffix)
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 1 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size; a size is a number of bytes of at least 1, also with K, M, G, T, P or E", text)
	}
	return n * unit, nil
}

// sizeUnit returns what a suffix multiplies by. KB and its like are refused:
// they mean one thing to some and another to others.
func sizeUnit(suffix string) (int64, bool) {
	letter := strings.TrimSuffix(suffix, "iB")
	if suffix == "" || suffix == "B" {
		return 1, true
	}
	i := strings.Index(sizeUnits, strings.ToUpper(letter))
	if len(letter) != 1 || i < 0 {
		return 0, false
	}
	return 1 << (10 * (i + 1)), true
}

// A Size is a number of bytes that is written as ParseSize reads it; empty
// is 0.
type Size int64

// UnmarshalText reads what ParseSize reads, and the empty text.
func (s *Size) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = 0
		return nil
	}
	n, err := ParseSize(string(text))
	if err == nil {
		*s = Size(n)
	}
	return err
}

// MarshalText is the inverse of UnmarshalText.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the size as text, in the largest unit that gives a whole
// number.
func (s Size) String() string {
	if s <= 0 {
		return ""
	}
	n, unit := int64(s), ""
	for i := 0; i < len(sizeUnits) && n%1024 == 0; i++ {
		n, unit = n/1024, sizeUnits[i:i+1]+"iB"
	}
	return strconv.FormatInt(n, 10) + unit
}
