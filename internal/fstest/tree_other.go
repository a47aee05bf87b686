//go:build !linux

package fstest

import (
	"errors"
	"testing"
)

// FromPath works on Linux only.
func FromPath(tb testing.TB, _ string) Tree {
	tb.Helper()
	tb.Fatal(errors.ErrUnsupported)
	return nil
}

// ReadPath works on Linux only.
func ReadPath(string) (Tree, error) { return nil, errors.ErrUnsupported }
