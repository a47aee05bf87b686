//go:build !linux

package fstest

import "errors"

// Apply works on Linux only.
func (e Edit) Apply(string) error { return errors.ErrUnsupported }
