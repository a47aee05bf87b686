//go:build !linux

package tar

import (
	"context"
	"errors"
	"io"
	"os"
)

func unpack(context.Context, *os.File, io.Reader, UnpackOptions) (*Delta, Applied, error) {
	return nil, Applied{}, errors.ErrUnsupported
}

func (d *Delta) merge(context.Context, Target) error { return errors.ErrUnsupported }
