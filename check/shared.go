package check

import (
	"context"
	"errors"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// maxTrials is how often a check begins with something that others change.
const maxTrials = 4

// A trial is a look at one thing whose findings wait until it is known that
// nobody has changed it meanwhile.
type trial struct {
	*checker
	findings []Finding
}

func (c *checker) newTrial() *trial {
	inner := *c
	t := &trial{checker: &inner}
	inner.sum, inner.fresh = Summary{}, nil
	inner.found = func(f Finding) { t.findings = append(t.findings, f) }
	return t
}

// accept makes what a trial has found that of the check.
func (c *checker) accept(t *trial) {
	findings := c.sum.Findings // which report counts
	c.sum = c.sum.Plus(t.sum)
	c.sum.Findings = findings
	for _, f := range t.findings {
		c.report(f)
	}
}

// discard forgets a trial, but for what it has read.
func (c *checker) discard(t *trial) {
	c.sum.Bytes += t.sum.Bytes
	for _, d := range t.fresh {
		delete(c.blobs, d)
	}
}

// sawBlob counts a blob whose bytes were read.
func (c *checker) sawBlob(d digest.Digest) {
	if !c.blobs[d] {
		c.fresh = append(c.fresh, d)
	}
	c.blobs[d] = true
	c.sum.Blobs++
}

// settle looks at a thing until two looks in a row have found something, or one
// nothing. gone says of an error that the thing is not there any more.
func (c *checker) settle(look func(*trial) error, gone func(error) bool) error {
	before := 0 // findings of the last look
	for range maxTrials {
		t := c.newTrial()
		err := look(t)
		switch {
		case err == nil && (before > 0 || len(t.findings) == 0):
			c.accept(t)
			return nil
		case err == nil:
			before = len(t.findings)
		case errors.Is(err, snapshotter.ErrGivenUp):
			before = 0
		case gone(err):
			c.discard(t)
			c.sum.Changed++
			return nil
		}
		c.discard(t)
		if err != nil && !errors.Is(err, snapshotter.ErrGivenUp) {
			return err
		}
	}
	c.sum.Changed++
	return nil
}

// settledLayer is layer, also while others change snapshots.
func (c *checker) settledLayer(l snapshotter.Layer) error {
	if !c.opts.Shared || l.Name == "" {
		return c.layer(l)
	}
	return c.settle(func(t *trial) error {
		delete(c.damaged, l.Name)
		err := c.snaps.Examine(c.ctx, l.Name, func(ctx context.Context, l snapshotter.Layer) error {
			t.ctx = ctx
			return t.layer(l)
		})
		if err != nil {
			delete(c.damaged, l.Name)
		}
		return err
	}, errdefs.IsNotFound)
}

// settledImage is image, also while others import and remove images. An image
// has a record after all that it needs is there, and as long as it needs it.
func (c *checker) settledImage(img image.Image) error {
	if !c.opts.Shared {
		return c.image(img)
	}
	return c.settle(func(t *trial) error {
		if err := t.image(img); err != nil || len(t.findings) == 0 {
			return err
		}
		now, err := c.images.Image(c.ctx, img.Name)
		if err == nil && (now.Name != img.Name || !now.Imported.Equal(img.Imported) || now.Target.Digest != img.Target.Digest) {
			err = image.ErrNotFound // it is another one
		}
		return err
	}, func(err error) bool { return errors.Is(err, image.ErrNotFound) })
}

// settledBlob is blob for one that no image needs any more, and that may go.
func (c *checker) settledBlob(desc ocispec.Descriptor) error {
	if !c.opts.Shared {
		return c.blob(desc, nil)
	}
	return c.settle(func(t *trial) error {
		if err := t.blob(desc, nil); err != nil || len(t.findings) == 0 {
			return err
		}
		_, ok, err := c.images.BlobSize(desc.Digest)
		if err == nil && !ok {
			err = image.ErrNotFound
		}
		return err
	}, func(err error) bool { return errors.Is(err, image.ErrNotFound) })
}

// hasSnapshot reports whether there is a snapshot of that name.
func (c *checker) hasSnapshot(key string) (bool, error) {
	if _, ok := c.layers[key]; ok || !c.opts.Shared {
		return ok, nil
	}
	_, err := c.snaps.Stat(c.ctx, key) // made since
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
