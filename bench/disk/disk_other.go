//go:build !linux

package disk

import "errors"

// Remove returns an error: places are on Linux alone.
func Remove(string) error { return errors.ErrUnsupported }

// A Scratch is on Linux alone.
type Scratch struct{}
