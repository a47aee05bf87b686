package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// ErrUnreadable: the files of a layer cannot be read.
var ErrUnreadable = errors.New("its files cannot be read")

// Usable returns an error when the layer of a snapshot cannot be used. It
// checks the record of the layer, and reads its root directory in the merged
// tree, which includes the parents. It does not check the records of the
// parents. The error matches [ErrLayerMissing], [ErrRecord], [ErrLayerTorn],
// [ErrQuarantined] or [ErrUnreadable], see [IsDamage]. Usable returns nil for a
// usable layer.
func (s *Snapshotter) Usable(ctx context.Context, key string) error {
	err := s.looking(ctx, key, func(row meta.Snapshot) error { return s.usable(ctx, row) })
	if err != nil {
		err = fmt.Errorf("snapshot %q: %w", key, err)
	}
	return err
}

func (s *Snapshotter) usable(ctx context.Context, row meta.Snapshot) error {
	if err := s.recorded(ctx, row); err != nil {
		return err
	}
	view, err := s.driver.View(ctx, layerOf(row))
	if err == nil {
		root, rootErr := view.Root()
		if err = rootErr; err == nil {
			_, err = root.Names()
			err = errors.Join(err, root.Close())
		}
		err = errors.Join(err, view.Close())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return nil
}

// recorded is usable without reading the files of the layer: it checks only the
// record.
func (s *Snapshotter) recorded(ctx context.Context, row meta.Snapshot) error {
	if err := s.elsewhere(row); err != nil {
		return err
	}
	if err := s.inQuarantine(row); err != nil {
		return err
	}
	r, ok := s.driver.(driver.Recorder)
	if !ok {
		return nil
	}
	record, err := recordOf(ctx, r, row)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
	case record.Torn:
		err = ErrLayerTorn
	case row.Kind == meta.Committed && !record.Sealed:
		err = fmt.Errorf("%w: its snapshot is committed, and it was never sealed", ErrRecord)
	}
	return err
}

// Reinscribe writes name, labels and store of the row into the record of a
// committed snapshot's layer. The record must agree with the row in everything
// else; otherwise the error matches [ErrRecord]. Reinscribe also repairs
// [ErrHints], for snapshots of every kind. With dryRun it only says whether it
// would do so.
func (s *Snapshotter) Reinscribe(ctx context.Context, key string, dryRun bool) error {
	done, err := s.mending(ctx, key, dryRun)
	if err != nil {
		return err
	}
	defer done()
	chain, err := s.chain(key)
	if err != nil {
		return err
	}
	if chain[0].Store != "" {
		return errLent(chain[0])
	}
	r, ok := s.driver.(driver.Recorder)
	if !ok || chain[0].Foreign {
		return fail(errdefs.ErrNotImplemented, "snapshot %q: %w: no record of its layer is kept", key, driver.ErrUnsupported)
	}
	record, err := r.Record(ctx, layerOf(chain[0]))
	if err != nil {
		return classify(fmt.Errorf("record of snapshot %q: %w", key, err))
	}
	if done, err := s.renewHints(ctx, key, dryRun); err != nil || done {
		return err
	}
	if chain[0].Kind != meta.Committed || !record.Sealed || !slices.Equal(layersOf(chain[1:]), record.Parents) {
		return fail(errdefs.ErrFailedPrecondition, "snapshot %q: %w in what it stands on, or whether it is sealed", key, ErrRecord)
	}
	if err := errors.Join(ofAnother(chain[0], record), s.asCommitted(ctx, chain[0])); err != nil {
		return classify(fmt.Errorf("snapshot %q: %w", key, err))
	}
	if dryRun {
		return nil
	}
	return classify(s.inscribe(ctx, chain[0]))
}

// renewHints repairs an ErrHints of a snapshot's layer. done reports that it
// was the only fault of the layer.
func (s *Snapshotter) renewHints(ctx context.Context, key string, dryRun bool) (done bool, err error) {
	hints := func(err error) bool { return errors.Is(err, ErrHints) }
	err = s.examine(ctx, key, func(_ context.Context, l Layer) error {
		if !slices.ContainsFunc(l.Faults, hints) {
			return nil
		}
		done = !slices.ContainsFunc(l.Faults, func(err error) bool { return !hints(err) })
		if dryRun {
			return nil
		}
		return classify(s.driver.(driver.HintKeeper).RenewHints(ctx, l.ID))
	})
	return done, err
}

// Renew makes the layer of the committed snapshot key again, and replaces the
// present one, which may be damaged or missing. layer is the tar that the layer
// was unpacked from, and opts.DiffID its digest. The snapshot keeps its name
// and the layer its ID, so snapshots above go on. Existing mounts keep the
// files of the old layer, which is deleted when nothing needs it.
//
// The layers below must be sound. When the commit has recorded a digest of the
// changes, the new layer must have it too.
//
// Nothing changes until the new layer is complete and on disk; then one step
// replaces the old one. After a crash before that, opening the store deletes
// the new layer, which the row names as its spare layer. Renew returns
// [driver.ErrUnsupported] when the driver cannot replace layers, and for a
// layer of another engine.
func (s *Snapshotter) Renew(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (err error) {
	seen := s.observe(Event{Op: OpApply, Key: key})
	defer seen.end(&err)
	if opts.DiffID == "" {
		return fail(errdefs.ErrInvalidArgument, "make the layer of snapshot %q anew: no digest says what it must be", key)
	}
	opts.Detached = false
	done, err := s.changing(ctx, key)
	if err != nil {
		return err
	}
	defer done()
	applied, err := s.renew(ctx, key, layer, opts)
	seen.Bytes, seen.Entries = applied.Bytes, applied.Entries
	if err != nil {
		return classify(fmt.Errorf("make the layer of snapshot %q anew: %w", key, err))
	}
	s.cleanLater(ctx)
	return nil
}

func (s *Snapshotter) renew(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	row, err := s.row(key)
	if err != nil {
		return driver.Applied{}, err
	}
	replacer, ok := s.driver.(driver.Replacer)
	switch {
	case !ok:
		return driver.Applied{}, fmt.Errorf("%w: driver %s cannot replace a layer", driver.ErrUnsupported, s.driver.Name())
	case row.Store != "":
		return driver.Applied{}, errLent(row)
	case row.Foreign:
		return driver.Applied{}, fmt.Errorf("%w: another engine made it", driver.ErrUnsupported)
	case row.Kind != meta.Committed:
		return driver.Applied{}, fail(errdefs.ErrFailedPrecondition, "it is %s, not committed", row.Kind)
	}
	if row.Spare != "" { // from an earlier attempt
		if err := s.dropSpare(ctx, row); err != nil {
			return driver.Applied{}, err
		}
	}
	beside, above, err := s.announceRenewal(key)
	if err != nil {
		return driver.Applied{}, err
	}
	applied, sealed, err := s.unpackBeside(ctx, beside, above, layer, opts)
	if err == nil {
		err = s.claim(ctx, beside.Spare, above)
	}
	if err == nil {
		err = replacer.Replace(context.WithoutCancel(ctx), driver.ID(beside.Spare), layerOf(beside))
	}
	if err != nil {
		return applied, errors.Join(err, s.undoRenewal(context.WithoutCancel(ctx), beside, !errors.Is(err, errTaken)))
	}
	return applied, s.free("renewed", func(tx *meta.Tx) error {
		row, err := ready(tx, key)
		if err != nil {
			return err
		}
		if err := endQuarantine(tx, key); err != nil {
			return err
		}
		row.Spare, row.Usage, row.Updated = "", sealed.Usage, now()
		return tx.UpdateSnapshot(row)
	})
}

// claim writes the record of a layer again when the record is lost and the
// layer looks like one of another engine. A driver does not replace a layer of
// another engine.
func (s *Snapshotter) claim(ctx context.Context, layer string, above []driver.ID) error {
	is, ok := s.driver.(driver.Recorder)
	r, again := s.driver.(driver.Rerecorder)
	if !ok || !again {
		return nil
	}
	if record, err := is.Record(ctx, driver.ID(layer)); err != nil || !record.Foreign {
		return nil //nolint:nilerr // Replace will return the error
	}
	return r.Rerecord(ctx, driver.ID(layer), above, driver.CreateOptions{})
}

// announceRenewal writes the ID of the layer that is to be made into the row,
// as its spare layer. It returns the row with Layer and Spare exchanged, and
// the layers below.
func (s *Snapshotter) announceRenewal(key string) (row meta.Snapshot, above []driver.ID, err error) {
	err = s.update("renew", func(tx *meta.Tx) error {
		if row, err = ready(tx, key); err != nil {
			return err
		}
		if above, err = s.parents(tx, row.Parent); err != nil {
			return err
		}
		if err := s.reserve(tx); err != nil {
			return err
		}
		if row.Spare, err = tx.NewLayer(); err != nil {
			return err
		}
		return tx.UpdateSnapshot(row)
	})
	row.Layer, row.Spare = row.Spare, row.Layer
	return row, above, err
}

// unpackBeside makes and seals a layer from its tar. row.Layer is the new
// layer.
func (s *Snapshotter) unpackBeside(ctx context.Context, row meta.Snapshot, above []driver.ID, layer io.Reader, opts driver.ApplyOptions,
) (applied driver.Applied, sealed meta.Snapshot, err error) {
	err = s.driver.Create(ctx, layerOf(row), above, driver.CreateOptions{})
	if errors.Is(err, driver.ErrExists) {
		err = taken(row)
	}
	if err != nil {
		return applied, row, err
	}
	opts.Fresh = true
	if applied, err = s.driver.ApplyDiff(ctx, layerOf(row), layer, opts); err != nil {
		return applied, row, err
	}
	if sealed, err = s.seal(ctx, row, row); err != nil || row.Digest == "" {
		return applied, sealed, err
	}
	sum, err := s.contentDigest(ctx, row, func(int) error { return ctx.Err() })
	if err == nil && sum.String() != row.Digest {
		err = fmt.Errorf("%w: its changes have the digest %s, those that were committed had %s", driver.ErrDigest, sum, row.Digest)
	}
	return applied, sealed, err
}

// undoRenewal removes the layer that was made beside the layer of a row. made
// is false when the layer existed before, with the same ID: then only the row
// changes.
func (s *Snapshotter) undoRenewal(ctx context.Context, beside meta.Snapshot, made bool) error {
	row := beside
	row.Layer, row.Spare = beside.Spare, beside.Layer
	if !made {
		return s.forgetSpare(row)
	}
	if err := s.dropSpare(ctx, row); err != nil {
		return fmt.Errorf("remove what was made beside it: %w", err)
	}
	s.cleanLater(ctx)
	return nil
}
