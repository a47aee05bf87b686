package tar

import (
	"context"
	"errors"
	"io"
	"os"
)

func unpack(ctx context.Context, staging *os.File, layer io.Reader, opts UnpackOptions) (*Delta, Applied, error) {
	return nil, Applied{}, errors.ErrUnsupported
}
func (d *Delta) merge(ctx context.Context, t Target) error { return errors.ErrUnsupported }
func newDecompressor(r io.Reader) (rc io.ReadCloser, c Compression, err error) {
	return nil, 0, errors.ErrUnsupported
}
func newCompressor(w io.Writer, c Compression) (io.WriteCloser, error) {
	return nil, errors.ErrUnsupported
}
