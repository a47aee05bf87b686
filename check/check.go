package check

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// Options tune [Run].
type Options struct {
	// ReadData reads every byte; see the package comment.
	ReadData bool
	// Names are keys of snapshots and names of images; each is checked with all that it
	// stands on. Empty: the whole store.
	Names []string
	// Read is told, from one goroutine at a time, of bytes that were read; waiting in it
	// slows the check down. An error ends it. nil: nobody.
	Read func(ctx context.Context, n int) error
	// Step is told of each snapshot and image before it is looked at; nil: nobody.
	Step func(done, all int, name string)
}

// ErrNoName: an Options.Names is neither a snapshot nor an image.
var ErrNoName = errors.New("there is no snapshot and no image of that name")

// Run checks a store that is open and calls found for each thing that is wrong, as it
// goes. An error says that the check could not go on; damage is no error.
func Run(ctx context.Context, snaps *snapshotter.Snapshotter, images *image.Store, opts Options, found func(Finding)) (Summary, error) {
	c := &checker{
		ctx: ctx, snaps: snaps, images: images, opts: opts, found: found,
		users: map[string][]string{}, layers: map[string]snapshotter.Layer{}, blobs: map[digest.Digest]bool{},
		damaged: map[string]bool{},
	}
	err := c.run()
	return c.sum, err
}

type checker struct {
	ctx    context.Context //nolint:containedctx // one call of Run
	snaps  *snapshotter.Snapshotter
	images *image.Store
	opts   Options
	found  func(Finding)
	sum    Summary
	// layers are those that have snapshots, by the names of these.
	layers map[string]snapshotter.Layer
	// users are the images that need a snapshot.
	users map[string][]string
	// blobs are those whose bytes were read.
	blobs map[digest.Digest]bool
	// damaged are the snapshots with findings, and those that stand on them.
	damaged map[string]bool
}

func (c *checker) run() error {
	if len(c.opts.Names) == 0 {
		if err := c.database(); err != nil {
			return err
		}
	}
	images, err := c.images.List(c.ctx)
	if err != nil {
		return err
	}
	for _, img := range images {
		for _, key := range chainOf(img) {
			c.users[key] = append(c.users[key], img.Name)
		}
	}
	layers, err := c.snaps.Inspect(c.ctx)
	if err != nil {
		return err
	}
	for _, l := range layers {
		if l.Name != "" {
			c.layers[l.Name] = l
		}
	}
	if len(c.opts.Names) > 0 {
		if layers, images, err = c.only(layers, images); err != nil {
			return err
		}
	}
	for i, l := range layers {
		c.step(i, len(layers)+len(images), string(l.ID))
		if err := c.layer(l); err != nil {
			return err
		}
	}
	for i, img := range images {
		c.step(len(layers)+i, len(layers)+len(images), img.Name)
		if err := c.image(img); err != nil {
			return err
		}
	}
	if c.opts.ReadData && len(c.opts.Names) == 0 {
		return c.otherBlobs()
	}
	return nil
}

func (c *checker) step(done, all int, name string) {
	if c.opts.Step != nil {
		c.opts.Step(done, all, name)
	}
}

// chainOf are the snapshots of an image, base first.
func chainOf(img image.Image) []string {
	if len(img.Layers) == 0 {
		return []string{img.Snapshot}
	}
	var keys []string
	for _, l := range img.Layers {
		keys = append(keys, l.ChainID.String())
	}
	return keys
}

// only leaves what was asked for by name, and what it stands on.
func (c *checker) only(layers []snapshotter.Layer, images []image.Image) ([]snapshotter.Layer, []image.Image, error) {
	wanted := map[string]bool{}
	var kept []image.Image
	for _, name := range c.opts.Names {
		key := name
		if img, err := c.images.Get(c.ctx, name); err == nil {
			kept = append(kept, img)
			key = img.Snapshot
			for _, k := range chainOf(img) { // those above a missing one, too
				wanted[k] = true
			}
		} else if _, ok := c.layers[name]; !ok {
			return nil, nil, fmt.Errorf("%q: %w", name, ErrNoName)
		}
		for ; key != ""; key = c.layers[key].Parent {
			wanted[key] = true
		}
	}
	layers = slices.DeleteFunc(slices.Clone(layers), func(l snapshotter.Layer) bool { return l.Name == "" || !wanted[l.Name] })
	return layers, slices.CompactFunc(kept, func(a, b image.Image) bool { return a.Name == b.Name }), nil
}

// report hands a finding on.
func (c *checker) report(f Finding) {
	c.sum.Findings++
	c.found(f)
}

// hurt is report for what is wrong with a layer itself.
func (c *checker) hurt(l snapshotter.Layer, f Finding) {
	if l.Name != "" {
		c.damaged[l.Name] = true
	}
	c.report(f)
}

// read counts bytes.
func (c *checker) read(n int) error {
	c.sum.Bytes += int64(n)
	if c.opts.Read != nil {
		return c.opts.Read(c.ctx, n)
	}
	return c.ctx.Err()
}

func (c *checker) database() error {
	return c.snaps.DB().Check(func(err error) {
		c.report(Finding{Part: Database, What: err.Error()})
	})
}

// image checks what the store keeps of an image beside its snapshots.
func (c *checker) image(img image.Image) error {
	c.sum.Images++
	say := func(format string, args ...any) {
		c.report(Finding{Part: Image, Name: img.Name, What: fmt.Sprintf(format, args...), Images: []string{img.Name}})
	}
	for i, key := range chainOf(img) {
		if _, ok := c.layers[key]; !ok {
			say("the snapshot of its layer %d, %s, is missing", i+1, key)
		}
	}
	var manifest ocispec.Manifest
	for _, doc := range []struct {
		what string
		desc ocispec.Descriptor
	}{{"manifest", img.Target}, {"config", img.Config}} {
		raw, err := c.images.Document(doc.desc.Digest)
		if err == nil && doc.what == "manifest" {
			err = json.Unmarshal(raw, &manifest)
		}
		if err != nil {
			say("its %s cannot be read: %v", doc.what, err)
			continue
		}
		c.blobs[doc.desc.Digest] = true
		c.sum.Blobs++
		if err := c.read(len(raw)); err != nil {
			return err
		}
	}
	for i, l := range img.Layers {
		size, ok, err := c.images.BlobSize(l.Blob.Digest)
		switch {
		case err != nil:
			say("the blob of its layer %d cannot be read: %v", i+1, err)
		case !ok:
			say("the blob of its layer %d, %s, is missing: the image cannot be exported as it came", i+1, l.Blob.Digest)
		case size != l.Blob.Size:
			say("the blob of its layer %d, %s, has %d bytes and should have %d", i+1, l.Blob.Digest, size, l.Blob.Size)
		case c.opts.ReadData && !c.blobs[l.Blob.Digest]:
			if err := c.blob(l.Blob, []string{img.Name}); err != nil {
				return err
			}
		}
	}
	return nil
}
