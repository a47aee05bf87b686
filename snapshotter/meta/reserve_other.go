//go:build !linux

package meta

import "errors"

// allocate does nothing: no backend works here.
func allocate(string) error { return errors.ErrUnsupported }
