package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Import reads an image, unpacks its layers into committed snapshots, keeps its
// blobs, and records it under opts.Name, or else under the names that the
// source has for it. If another image has one of these names, the name moves to
// this image. Import returns the image under its first name.
//
// Import does not unpack layers that the store already has, unless they are
// damaged. For such a layer it checks the record and the root directory, and
// reads the blob. It unpacks a damaged layer again in place, see
// [snapshotter.Snapshotter.Renew]. It replaces a damaged blob, manifest or
// config. opts.Warn is called for each of these.
//
// For a source with several images the reference behind its path or opts.Image
// must choose one; otherwise Import returns ErrAmbiguous.
//
// After an error, also after a cancelled ctx, nothing of this import stays: no
// name, no snapshot, no blob. Import returns:
//
//   - ErrInvalid when the source is wrong;
//   - [driver.ErrInvalidLayer] or [driver.ErrDigest] when a layer is wrong;
//   - ErrNotFound when the path does not exist;
//   - ErrExists when a snapshot that no import made has the name of a layer;
//   - [driver.ErrUnsupported] when the image has more layers than the driver
//     can stack.
func (s *Store) Import(ctx context.Context, src Source, opts ImportOptions) (Image, error) {
	if opts.Progress == nil {
		opts.Progress = NoProgress{}
	}
	img, err := s.importImage(ctx, src, opts)
	if err != nil {
		return Image{}, fmt.Errorf("import %s: %w", src, err)
	}
	return img, nil
}

func (s *Store) importImage(ctx context.Context, src Source, opts ImportOptions) (Image, error) {
	if err := s.changeable(); err != nil {
		return Image{}, err
	}
	want, err := opts.wanted("")
	if err != nil {
		return Image{}, err
	}
	var names []string
	if opts.Name != "" {
		name, err := ParseName(opts.Name)
		if err != nil {
			return Image{}, err
		}
		names = []string{name}
	}
	o, err := s.openSource(ctx, src, opts)
	if err != nil {
		return Image{}, err
	}
	defer o.Close()
	want.ref = o.ref
	c, img, err := pick(o.candidates, want)
	if err != nil {
		return Image{}, err
	}
	if opts.Warn != nil {
		for _, note := range img.notes {
			opts.Warn(WholeImage, "", note)
		}
	}
	if names == nil {
		if names, err = o.names(c); err != nil {
			return Image{}, err
		}
	}
	if most := s.snaps.Driver().Properties().MaxParents; most > 0 && len(img.Layers) > most {
		return Image{}, fmt.Errorf("%w: the image has %d layers, %s stacks at most %d",
			driver.ErrUnsupported, len(img.Layers), s.snaps.Driver().Name(), most)
	}
	return s.store(ctx, img, names, opts)
}

// store does the part of an import that must be undone if it fails.
func (s *Store) store(ctx context.Context, img *loaded, names []string, opts ImportOptions) (_ Image, err error) {
	// If several imports of the same image run, one does the work, and the others
	// then find its layers.
	done, err := s.turns.Lock(ctx, img.Target.Digest.String())
	if err != nil {
		return Image{}, err
	}
	defer done()
	h, err := s.hold(ctx, img.Image)
	if err != nil {
		return Image{}, err
	}
	// Undoing must work even if ctx was cancelled.
	defer func() { err = errors.Join(err, s.release(context.WithoutCancel(ctx), h)) }()

	u := newUnpacker(s, img, opts)
	defer u.close()
	if err := u.run(ctx); err != nil {
		return Image{}, err
	}
	for d, raw := range map[digest.Digest][]byte{img.Target.Digest: img.manifest, img.Config.Digest: img.config} {
		if err := s.addDocument(d, raw); err != nil {
			return Image{}, err
		}
	}
	if opts.Recipes {
		if err := s.keepRecipes(ctx, img.Image, h, opts.Warn); err != nil {
			return Image{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return Image{}, err
	}
	return s.record(ctx, img.Image, names, h)
}

// addDocument stores a manifest or config. It replaces a damaged one.
func (s *Store) addDocument(d digest.Digest, raw []byte) error {
	_, there, err := s.blobs.has(d)
	if err != nil {
		return err
	}
	if there {
		if _, err := s.blobs.read(d); err == nil {
			return nil
		}
	}
	if err := s.blobs.addAs(d, raw); err != nil {
		return fmt.Errorf("keeping %s: %w", d, err)
	}
	if !there {
		s.pins.made(blobPin(d.String()))
	}
	return nil
}

// record writes the image to the database. From then on the image exists.
func (s *Store) record(ctx context.Context, img Image, names []string, h *hold) (Image, error) {
	img.Imported = time.Now().UTC()
	var named []Image
	for _, name := range names {
		img.Name = name
		named = append(named, img)
	}
	err := s.snaps.DB().Update(func(tx *meta.Tx) error {
		if err := putImages(tx, named); err != nil {
			return err
		}
		for _, l := range img.Layers {
			r := blobRecord{DiffID: l.DiffID.String(), MediaType: layerTypes[l.Blob.MediaType].oci}
			if err := tx.PutRecord(blobRecords, l.Blob.Digest.String(), r); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		// The copy is written last, so that it never names an image that was not
		// recorded.
		if err = s.backUp(ctx, ""); err != nil {
			err = errors.Join(err, s.unrecord(named))
		}
	}
	if err != nil {
		return Image{}, fmt.Errorf("recording image %s: %w", names[0], err)
	}
	s.pins.keep(h.names)
	img.Name = names[0]
	return img, nil
}

// unrecord undoes record.
func (s *Store) unrecord(named []Image) error {
	return s.snaps.DB().Free(func(tx *meta.Tx) error {
		for _, img := range named {
			if err := tx.DeleteRecord(imageRecords, img.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// A hold has the names that one import or export has pinned.
type hold struct {
	names []string
	// drop has, for each name, the function that removes the snapshot or blob.
	drop map[string]func(context.Context) error
}

// hold pins all snapshots and blobs of an image, those that exist and those
// that the import will make.
func (s *Store) hold(ctx context.Context, img Image) (*hold, error) {
	h := &hold{drop: map[string]func(context.Context) error{}}
	keys := []string{img.Snapshot}
	blobs := []digest.Digest{img.Target.Digest, img.Config.Digest}
	for _, l := range slices.Backward(img.Layers) { // children before their parents
		keys = append(keys, l.ChainID.String())
		blobs = append(blobs, l.Blob.Digest)
	}
	for _, key := range keys {
		if err := s.pin(ctx, h, snapPin(key), func(ctx context.Context) error { return s.dropSnapshot(ctx, key) }); err != nil {
			return nil, err
		}
	}
	for _, d := range blobs {
		if err := s.pin(ctx, h, blobPin(d.String()), func(context.Context) error { return s.blobs.remove(d) }); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// pin adds a name to a hold, unless the hold has it already. If pin fails, it
// releases the whole hold.
func (s *Store) pin(ctx context.Context, h *hold, name string, drop func(context.Context) error) error {
	if h.drop[name] != nil {
		return nil
	}
	if err := s.pins.pin(ctx, name); err != nil {
		return errors.Join(err, s.release(context.WithoutCancel(ctx), h))
	}
	h.drop[name] = drop
	h.names = append(h.names, name)
	return nil
}

// release unpins all names. It removes what the import has made and no other
// import needs.
func (s *Store) release(ctx context.Context, h *hold) error {
	var errs []error
	for _, name := range h.names {
		if !s.pins.unpin(name) {
			continue
		}
		if err := h.drop[name](ctx); err != nil {
			errs = append(errs, fmt.Errorf("undoing the import: %w", err))
		}
		s.pins.gone(name)
	}
	return errors.Join(errs...)
}
