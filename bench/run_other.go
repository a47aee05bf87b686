//go:build !linux

package bench

import (
	"context"
	"errors"
)

// Run returns an error: layers are mounted on Linux alone.
func Run(context.Context, Options) (*Report, error) { return nil, errors.ErrUnsupported }

// Subjects returns nothing: there are no drivers but on Linux.
func Subjects() []*Subject { return nil }

// Suites returns nothing.
func Suites() []Suite { return nil }
