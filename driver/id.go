package driver

import "fmt"

const maxIDLen = 128

// Validate returns nil for an ID of 1 to 128 bytes of the letters A to Z and a
// to z, digits, "_", "." and "-" that does not start with a dot. Otherwise it
// returns an error that matches [ErrInvalidID].
func (id ID) Validate() error {
	if len(id) == 0 || len(id) > maxIDLen || id[0] == '.' {
		return fmt.Errorf("%w: %q", ErrInvalidID, string(id))
	}
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.', c == '-':
		default:
			return fmt.Errorf("%w: %q", ErrInvalidID, string(id))
		}
	}
	return nil
}
