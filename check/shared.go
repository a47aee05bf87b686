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

// maxTrials is the number of times that a check starts to examine a thing that
// changes.
const maxTrials = 4

// A trial examines one thing. Its findings are held back until it is known that
// the thing has not changed during the trial.
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

// accept adds the results of a trial to those of the check.
func (c *checker) accept(t *trial) {
	findings := c.sum.Findings // report counts them below
	c.sum = c.sum.Plus(t.sum)
	c.sum.Findings = findings
	for _, f := range t.findings {
		c.report(f)
	}
}

// discard drops the results of a trial, except the number of bytes read.
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

// settle examines a thing until two trials in a row have findings, or one trial
// has none. gone reports whether an error means that the thing was removed.
func (c *checker) settle(look func(*trial) error, gone func(error) bool) error {
	before := 0 // number of findings of the last trial
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

// settledLayer checks a layer while other calls may change snapshots.
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

// settledImage checks an image while other calls may import and remove images.
// The record of an image exists only while everything that it needs exists.
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
			err = image.ErrNotFound // the name now belongs to another image
		}
		return err
	}, func(err error) bool { return errors.Is(err, image.ErrNotFound) })
}

// settledBlob checks a blob that no image needs and that may be removed
// meanwhile.
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

// hasSnapshot reports whether a snapshot with this name exists.
func (c *checker) hasSnapshot(key string) (bool, error) {
	if _, ok := c.layers[key]; ok || !c.opts.Shared {
		return ok, nil
	}
	_, err := c.snaps.Stat(c.ctx, key) // it may be new
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}
