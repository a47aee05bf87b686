package check

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// blob compares a blob with its digest.
func (c *checker) blob(desc ocispec.Descriptor, images []string) error {
	r, err := c.openBlob(desc)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	if fatal := c.fatal(err); fatal != nil {
		return fatal
	}
	c.sawBlob(desc.Digest)
	if err != nil {
		c.report(Finding{Part: Blob, Name: desc.Digest.String(), What: err.Error(), Images: images, Blob: desc.Digest})
	}
	return nil
}

// otherBlobs compares the remaining blobs with their digests: those that belong
// to no image, and those of layers that could not be compared.
func (c *checker) otherBlobs() error {
	var rest []ocispec.Descriptor
	err := c.images.Blobs(func(d digest.Digest, size int64) error {
		if !c.blobs[d] {
			rest = append(rest, ocispec.Descriptor{Digest: d, Size: size})
		}
		return c.ctx.Err()
	})
	if err != nil {
		return err
	}
	slices.SortFunc(rest, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	for _, desc := range rest {
		here := place{stage: atBlob, name: desc.Digest.String()}
		if c.passed(here) {
			continue
		}
		if err := c.settledBlob(desc); err != nil {
			return err
		}
		c.reached(here)
	}
	return nil
}

// openBlob opens a blob. Its bytes are counted. Reading it ends with an error
// if the blob does not have its digest.
func (c *checker) openBlob(desc ocispec.Descriptor) (io.ReadCloser, error) {
	r, err := c.images.OpenBlob(c.ctx, desc)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{counted{r, c}, r}, nil
}

// counted is a reader that counts its bytes.
type counted struct {
	r io.Reader
	c *checker
}

func (r counted) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if stop := r.c.read(n); stop != nil {
		return n, stopped{stop}
	}
	return n, err
}

// stopped is an error that ends the check and does not mean damage.
type stopped struct{ error }

func (s stopped) Unwrap() error { return s.error }

// fatal returns the error that ends the check, or nil if err does not end it.
func (c *checker) fatal(err error) error {
	var stop stopped
	switch {
	case err == nil:
		return nil
	case errors.As(err, &stop):
		return stop.error
	case c.ctx.Err() != nil, errors.Is(err, context.Canceled):
		return errors.Join(c.ctx.Err(), err)
	}
	return nil
}
