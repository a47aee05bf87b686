package driver

import "fmt"

const maxIDLen = 128

// Validate returns ErrInvalidID, wrapped, unless the ID is a plain file name.
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
