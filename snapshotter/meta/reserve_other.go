//go:build !linux

package meta

import "errors"

// allocate does nothing, because no backend works on this system.
func allocate(string) error { return errors.ErrUnsupported }
