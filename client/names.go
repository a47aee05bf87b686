package client

import (
	"fmt"
	"unicode/utf8"

	"github.com/containerd/errdefs"
)

// Names travel as UTF-8, and there is nothing in a store that is called by
// anything else.

// lookupName returns that nothing is called so.
func lookupName(name string) error {
	if utf8.ValidString(name) {
		return nil
	}
	return fmt.Errorf("%q: %w", name, errdefs.ErrNotFound)
}

// newName returns that nothing can be called so.
func newName(name string) error {
	if utf8.ValidString(name) {
		return nil
	}
	return fmt.Errorf("%w: name %q is not UTF-8", errdefs.ErrInvalidArgument, name)
}
