package check

import (
	"cmp"
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
	// Names are keys of snapshots and names of images. Each is checked with
	// everything below it. Empty: the whole store.
	Names []string
	// Read is called, by one goroutine at a time, with the number of bytes that
	// were read. A Read that waits slows the check down; an error of it ends
	// the check. nil: none.
	Read func(ctx context.Context, n int) error
	// Step is called before each snapshot and image is checked; nil: none.
	Step func(done, all int, name string)
	// After is the position that an earlier check of the same store with the
	// same options has reached. What it has checked is left out, except the
	// database.
	After Position
	// Reached is called after each checked thing, when all its findings were
	// reported, with the position and with what was checked so far; nil: none.
	Reached func(Position, Summary)
	// Shared: other calls may make, commit and remove snapshots and images
	// during the check, see the package comment.
	Shared bool
}

// ErrNoName: a name in Options.Names is neither a snapshot nor an image.
var ErrNoName = errors.New("no snapshot and no image has this name")

// Run checks an open store and calls found for each finding as soon as it is
// certain. An error says that the check could not go on. Damage is no error.
func Run(ctx context.Context, snaps *snapshotter.Snapshotter, images *image.Store, opts Options, found func(Finding)) (Summary, error) {
	c := &checker{
		ctx: ctx, snaps: snaps, images: images, opts: opts, found: found,
		users: map[string][]string{}, layers: map[string]snapshotter.Layer{}, blobs: map[digest.Digest]bool{},
		damaged: map[string]bool{}, again: map[string]bool{},
	}
	var err error
	if c.after, err = opts.After.place(); err != nil {
		return Summary{}, err
	}
	err = c.run()
	return c.sum, err
}

type checker struct {
	ctx    context.Context //nolint:containedctx // one call of Run
	snaps  *snapshotter.Snapshotter
	images *image.Store
	opts   Options
	found  func(Finding)
	sum    Summary
	// layers has the layers of snapshots, by snapshot name.
	layers map[string]snapshotter.Layer
	// users has the names of the images that need a snapshot.
	users map[string][]string
	// blobs has the blobs whose bytes were read.
	blobs map[digest.Digest]bool
	// damaged has the snapshots with findings and the snapshots above them.
	damaged map[string]bool
	// after is the place up to which an earlier check has come.
	after place
	// again has snapshots that an earlier check has examined and that this check
	// has examined again, to find out whether the snapshots above them have
	// inherited damage.
	again map[string]bool
	// fresh has the blobs that this trial has added to blobs.
	fresh []digest.Digest
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
	if len(c.opts.Names) == 0 {
		if err := c.imageList(); err != nil {
			return err
		}
	}
	images = slices.DeleteFunc(images, func(img image.Image) bool { return img.Store != "" })
	for _, img := range images {
		for _, key := range chainOf(img) {
			c.users[key] = append(c.users[key], img.Name)
		}
	}
	inspect := c.snaps.Inspect
	if c.opts.Shared {
		inspect = c.snaps.Survey
	}
	layers, err := inspect(c.ctx)
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
	if err := c.each(layers, images); err != nil {
		return err
	}
	if c.opts.ReadData && len(c.opts.Names) == 0 {
		return c.otherBlobs()
	}
	return nil
}

// each checks layers and images, always in the same order.
func (c *checker) each(layers []snapshotter.Layer, images []image.Image) error {
	slices.SortStableFunc(layers, func(a, b snapshotter.Layer) int { return placeOf(a).compare(placeOf(b)) })
	slices.SortFunc(images, func(a, b image.Image) int { return cmp.Compare(a.Name, b.Name) })
	for i, l := range layers {
		here := placeOf(l)
		if c.passed(here) {
			c.passLayer(l)
			continue
		}
		c.step(i, len(layers)+len(images), string(l.ID))
		if err := c.settledLayer(l); err != nil {
			return err
		}
		c.reached(here)
	}
	for i, img := range images {
		here := place{stage: atImage, name: img.Name}
		if c.passed(here) {
			c.passImage(img)
			continue
		}
		c.step(len(layers)+i, len(layers)+len(images), img.Name)
		if err := c.settledImage(img); err != nil {
			return err
		}
		c.reached(here)
	}
	return nil
}

func (c *checker) step(done, all int, name string) {
	if c.opts.Step != nil {
		c.opts.Step(done, all, name)
	}
}

// chainOf returns the snapshots of an image, base first.
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

// only returns the layers and images that Options.Names names, with everything
// below them.
func (c *checker) only(layers []snapshotter.Layer, images []image.Image) ([]snapshotter.Layer, []image.Image, error) {
	wanted := map[string]bool{}
	var kept []image.Image
	for _, name := range c.opts.Names {
		key := name
		if img, err := c.images.Image(c.ctx, name); err == nil && img.Store == "" {
			kept = append(kept, img)
			key = img.Snapshot
			for _, k := range chainOf(img) { // also those above a missing snapshot
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

// report counts a finding and passes it to the caller.
func (c *checker) report(f Finding) {
	c.sum.Findings++
	c.found(f)
}

// hurt reports damage of the layer itself.
func (c *checker) hurt(l snapshotter.Layer, f Finding) {
	if l.Name != "" {
		c.damaged[l.Name] = true
		f.Broken = true
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

// imageList checks the copy of the list of images, which is needed after a loss
// of the database.
func (c *checker) imageList() error {
	wrong, err := c.images.CheckBackup(c.ctx)
	for _, w := range wrong {
		c.report(Finding{Part: Image, What: w.Error()})
	}
	return err
}

// image checks what the store has of an image besides its snapshots.
func (c *checker) image(img image.Image) error {
	c.sum.Images++
	say := func(blob digest.Digest, format string, args ...any) {
		c.report(Finding{Part: Image, Name: img.Name, What: fmt.Sprintf(format, args...), Images: []string{img.Name}, Blob: blob})
	}
	for i, key := range chainOf(img) {
		there, err := c.hasSnapshot(key)
		if err != nil {
			return err
		}
		if !there {
			say("", "the snapshot of its layer %d, %s, is missing", i+1, key)
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
			say(doc.desc.Digest, "its %s cannot be read: %v", doc.what, err)
			continue
		}
		c.sawBlob(doc.desc.Digest)
		if err := c.read(len(raw)); err != nil {
			return err
		}
	}
	for i, l := range img.Layers {
		size, ok, err := c.images.BlobSize(l.Blob.Digest)
		switch {
		case err != nil:
			say(l.Blob.Digest, "the blob of its layer %d cannot be read: %v", i+1, err)
		case !ok:
			say(l.Blob.Digest, "the blob of its layer %d, %s, is missing: the image cannot be exported as it came", i+1, l.Blob.Digest)
		case size != l.Blob.Size:
			say(l.Blob.Digest, "the blob of its layer %d, %s, has %d bytes and should have %d", i+1, l.Blob.Digest, size, l.Blob.Size)
		case c.opts.ReadData && !c.blobs[l.Blob.Digest]:
			if err := c.blob(l.Blob, []string{img.Name}); err != nil {
				return err
			}
		}
	}
	return nil
}
