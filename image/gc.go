package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Collect removes everything that nothing needs. First it removes the snapshots
// that imports made and that no image and no other snapshot needs, and forgets
// unneeded snapshots of additional stores. Then it removes the blobs that
// neither an image nor a snapshot names.
//
// Collect keeps the snapshots that a user made, and everything below them. It
// keeps what an image needs that the database has lost, see [Store.Restore],
// and keeps all blobs while there are layers without a snapshot. It may run at
// the same time as imports.
func (s *Store) Collect(ctx context.Context) (Collected, error) {
	var c Collected
	if err := s.changeable(); err != nil {
		return c, err
	}
	if err := s.dropInterrupted(ctx); err != nil {
		return c, err
	}
	for {
		again, err := s.collect(ctx, &c)
		if err != nil || !again {
			return c, err
		}
	}
}

// collect makes one pass. again is true if images have changed during the pass,
// or if removing something may have made other things unneeded.
func (s *Store) collect(ctx context.Context, c *Collected) (again bool, err error) {
	gen := s.pins.generation()
	m, err := s.mark(ctx)
	if err != nil {
		return false, err
	}
	for _, key := range m.loose {
		// The parent of a removed layer is removed at once. Calling mark again for each
		// layer would read all rows as many times as an image has layers.
		for key != "" {
			gone, stale, err := s.collectLayer(ctx, key, gen)
			if stale || err != nil {
				return stale, err
			}
			if !gone {
				break
			}
			c.Snapshots = append(c.Snapshots, key)
			again = true
			if key, err = s.looseParent(m, key); err != nil {
				return false, err
			}
		}
	}
	if again {
		return true, nil
	}
	if s.snaps.Unnamed() > 0 {
		// The layers on disk that have no row may belong to images that the database
		// has lost. Restoring these images needs their blobs.
		return false, nil
	}
	return s.collectBlobs(ctx, m, gen, c)
}

// collectLayer removes a snapshot that was not needed when gen was read. stale
// is true if this may have changed since. A snapshot that is in use now is not
// removed.
func (s *Store) collectLayer(ctx context.Context, key string, gen uint64) (gone, stale bool, err error) {
	ok, stale := s.pins.claim(snapPin(key), gen)
	if !ok {
		return false, stale, nil
	}
	err = s.snaps.Remove(ctx, key)
	s.pins.gone(snapPin(key))
	switch {
	case err == nil:
		return true, false, nil
	case errdefs.IsNotFound(err), errdefs.IsFailedPrecondition(err), errors.Is(err, driver.ErrBusy):
		return false, false, nil
	}
	return false, false, fmt.Errorf("removing layer %s: %w", key, err)
}

// looseParent returns the parent of a removed layer if it is not needed either,
// and "" otherwise.
func (s *Store) looseParent(m *marks, key string) (parent string, err error) {
	parent = m.unneeded[key]
	if _, ok := m.unneeded[parent]; !ok {
		return "", nil
	}
	err = s.snaps.DB().View(func(tx *meta.Tx) error {
		row, err := tx.Snapshot(parent)
		if errors.Is(err, meta.ErrNotFound) || err == nil && len(tx.Children(row)) > 0 {
			parent, err = "", nil
		}
		return err
	})
	return parent, err
}

func (s *Store) collectBlobs(ctx context.Context, m *marks, gen uint64, c *Collected) (again bool, err error) {
	err = s.blobs.walk(func(d digest.Digest, size int64) error {
		if m.blobs[d.String()] || again {
			return ctx.Err()
		}
		ok, stale := s.pins.claim(blobPin(d.String()), gen)
		if !ok {
			again = again || stale
			return ctx.Err()
		}
		defer s.pins.gone(blobPin(d.String()))
		if err := s.forgetBlob(d); err != nil {
			return err
		}
		c.Blobs++
		c.Bytes += size
		return ctx.Err()
	})
	return again, err
}

// forgetBlob removes the record of a blob, and then the blob. In the other
// order, a crash could leave a record without its blob, and the record would
// vouch for any later content under that digest.
func (s *Store) forgetBlob(d digest.Digest) error {
	if err := s.DoubtBlob(d); err != nil {
		return err
	}
	return s.blobs.remove(d)
}

// DoubtBlob forgets what the store knows about a damaged blob of a layer. The
// next import then reads the blob instead of trusting it, and replaces it.
func (s *Store) DoubtBlob(d digest.Digest) error {
	if _, ok := s.knownBlob(ocispec.Descriptor{Digest: d}); !ok {
		return nil
	}
	err := s.snaps.DB().Free(func(tx *meta.Tx) error { return tx.DeleteRecord(blobRecords, d.String()) })
	if errors.Is(err, meta.ErrNotFound) {
		return nil
	}
	return err
}

// marks is the result of the first half of a pass.
type marks struct {
	// unneeded has the snapshots of imports that no image needs, with their
	// parents.
	unneeded map[string]string
	// loose has the unneeded snapshots that have no children.
	loose []string
	// blobs has the digests of the blobs that are needed.
	blobs map[string]bool
}

func (s *Store) mark(ctx context.Context) (*marks, error) {
	m := &marks{unneeded: map[string]string{}, blobs: map[string]bool{}}
	needed := map[string]bool{}
	var bases []digest.Digest
	err := s.snaps.DB().View(func(tx *meta.Tx) error {
		known, err := markImages(tx, m, needed)
		if err != nil {
			return err
		}
		for _, img := range s.lost(known) {
			m.need(img, needed)
		}
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			m.blobs[row.Labels[LabelBlob]], m.blobs[row.Labels[LabelRecipe]] = true, true
			if base := digest.Digest(row.Labels[LabelBase]); base.Validate() == nil {
				bases = append(bases, base)
			}
			if (isLayer(row) || isBorrowed(row)) && !needed[row.Name] {
				m.unneeded[row.Name] = row.Parent
				if len(tx.Children(row)) == 0 {
					m.loose = append(m.loose, row.Name)
				}
			}
			return ctx.Err()
		})
	})
	if err != nil {
		return nil, err
	}
	for _, base := range bases {
		s.markBase(m, base)
	}
	return m, nil
}

// isBorrowed reports whether a snapshot belongs to an additional store. Its row
// may be removed: it comes back as soon as a command names the snapshot.
func isBorrowed(row meta.Snapshot) bool { return row.Store != "" && row.State == meta.Ready }

func markImages(tx *meta.Tx, m *marks, needed map[string]bool) (known []Image, err error) {
	err = tx.WalkRecords(imageRecords, func(name string, raw json.RawMessage) error {
		var img Image
		if err := json.Unmarshal(raw, &img); err != nil {
			// Without the record it is unknown what the image needs, and collecting would
			// destroy it.
			return fmt.Errorf("image %s: its record is unreadable: %w", name, err)
		}
		m.need(img, needed)
		known = append(known, img)
		return nil
	})
	return known, err
}

// need marks the snapshots and blobs of an image.
func (m *marks) need(img Image, needed map[string]bool) {
	needed[img.Snapshot] = true
	m.blobs[img.Target.Digest.String()] = true
	m.blobs[img.Config.Digest.String()] = true
	for _, l := range img.Layers {
		needed[l.ChainID.String()] = true
		m.blobs[l.Blob.Digest.String()] = true
	}
}

// markBase marks the manifest and config that a snapshot names as its base.
func (s *Store) markBase(m *marks, manifest digest.Digest) {
	raw, err := s.blobs.read(manifest)
	if err != nil {
		return // there is nothing to keep
	}
	m.blobs[manifest.String()] = true
	var doc ocispec.Manifest
	if json.Unmarshal(raw, &doc) == nil {
		m.blobs[doc.Config.Digest.String()] = true
	}
}

// dropInterrupted removes the active snapshots of imports that are not running.
// The process of such an import was killed.
func (s *Store) dropInterrupted(ctx context.Context) error {
	var dead []string
	err := s.snaps.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		token := info.Labels[LabelImporting]
		if scope, _ := snapshotter.ScopeOf(info.Name); scope != "" {
			return nil // its engine removes it
		}
		if info.Kind == snapshots.KindActive && token != "" && !s.running.has(token) {
			dead = append(dead, info.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.dropDead(ctx, dead)
}

// dropUnremoved does the same as dropInterrupted for a store that was closed
// properly. Only snapshots that an import could not remove are left then. Their
// names have a prefix of their own, so not all rows must be read.
func (s *Store) dropUnremoved(ctx context.Context) error {
	var dead []string
	err := s.snaps.DB().View(func(tx *meta.Tx) error {
		return tx.WalkSnapshotsFrom(activePrefix, func(row meta.Snapshot) error {
			token := row.Labels[LabelImporting]
			if row.Kind == meta.Active && row.State == meta.Ready && token != "" && !s.running.has(token) {
				dead = append(dead, row.Name)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	return s.dropDead(ctx, dead)
}

func (s *Store) dropDead(ctx context.Context, dead []string) error {
	for _, key := range dead {
		if err := s.snaps.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing the interrupted import %s: %w", key, err)
		}
	}
	return nil
}

// dropSnapshot removes a snapshot that an import has made. A snapshot that is
// in use by now is not removed.
func (s *Store) dropSnapshot(ctx context.Context, key string) error {
	err := s.snaps.Remove(ctx, key)
	if errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
		return nil
	}
	return err
}

// committed reports whether there is a committed snapshot with this key that an
// import made. It returns an error if the snapshot has another origin.
func (s *Store) committed(ctx context.Context, key string) (bool, error) {
	info, err := s.snaps.Stat(ctx, key)
	switch {
	case errdefs.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, err
	case info.Kind != snapshots.KindCommitted:
		return false, fmt.Errorf("snapshot %s: %w: its name belongs to a layer of this image", key, ErrNotCommitted)
	case info.Labels[LabelLayer] != key: // its content was never verified
		return false, fmt.Errorf("snapshot %s: %w, and no import made it; remove it first", key, ErrExists)
	}
	return true, nil
}
