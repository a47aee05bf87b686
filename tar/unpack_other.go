//go:build !linux

package tar

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/layerkeep/layerkeep/diff"
)

func unpack(context.Context, *os.File, io.Reader, UnpackOptions) (*Delta, Applied, error) {
	return nil, Applied{}, errors.ErrUnsupported
}

func (d *Delta) merge(context.Context, Target) error { return errors.ErrUnsupported }

func verify(context.Context, io.Reader, diff.View, diff.View, VerifyOptions) (Verified, error) {
	return Verified{}, errors.ErrUnsupported
}
