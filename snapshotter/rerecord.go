package snapshotter

import (
	"context"
	"fmt"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Rerecord writes the record of a snapshot's layer again from the row. The
// record is lost or damaged, and the files of the layer still exist. The layers
// below must be sound.
//
// For a committed layer the changes must have the digest that the commit
// recorded. When it recorded none, the layer must have as many files as at the
// commit. Then the layer is sealed again. Otherwise the error matches
// [ErrRecord], and the layer stays damaged, as if it had never been sealed.
//
// With dryRun Rerecord only says whether it would try. It returns
// [driver.ErrUnsupported] when the driver cannot write records again.
func (s *Snapshotter) Rerecord(ctx context.Context, key string, dryRun bool) error {
	done, err := s.mending(ctx, key, dryRun)
	if err != nil {
		return err
	}
	defer done()
	if err := s.rerecord(ctx, key, dryRun); err != nil {
		return classify(fmt.Errorf("make the record of snapshot %q anew: %w", key, err))
	}
	return nil
}

func (s *Snapshotter) rerecord(ctx context.Context, key string, dryRun bool) error {
	chain, err := s.chain(key)
	if err != nil {
		return err
	}
	row := chain[0]
	r, ok := s.driver.(driver.Rerecorder)
	switch {
	case row.Store != "":
		return errLent(row)
	case !ok || row.Foreign || row.Rebase != "" || row.State != meta.Ready:
		return fmt.Errorf("%w: its record cannot be made from its row", driver.ErrUnsupported)
	}
	if is, ok := s.driver.(driver.Recorder); ok && row.Kind == meta.Committed {
		if record, err := is.Record(ctx, layerOf(row)); err == nil { // otherwise the record is lost
			if err := ofAnother(row, record); err != nil {
				return err
			}
		}
	}
	if dryRun {
		there, err := s.driver.Layers(ctx)
		if err == nil && !slices.Contains(there, layerOf(row)) {
			err = fmt.Errorf("its files: %w", driver.ErrNotFound)
		}
		return err
	}
	above := layersOf(chain[1:])
	opts := driver.CreateOptions{View: row.Kind == meta.View && len(above) > 0}
	if opts.Note, err = s.note(row); err != nil {
		return err
	}
	if row.Kind != meta.Committed { // a commit ends both labels
		if opts.Size, err = s.checkSize(row.Kind, key, row.Labels); err != nil {
			return err
		}
		c := creation{kind: row.Kind, key: key, parent: row.Parent, labels: row.Labels}
		if opts.IDMap, err = s.checkIDMap(c); err != nil {
			return err
		}
	}
	if err := r.Rerecord(ctx, layerOf(row), above, opts); err != nil || row.Kind != meta.Committed {
		return err
	}
	if err := s.asCommitted(ctx, row); err != nil {
		return err
	}
	return s.driver.Seal(context.WithoutCancel(ctx), layerOf(row))
}

// asCommitted returns an error that matches ErrRecord when the files of a
// committed layer differ from those at its commit. It compares the digest when
// the commit recorded one, and otherwise the number of files.
func (s *Snapshotter) asCommitted(ctx context.Context, row meta.Snapshot) error {
	if row.Digest == "" {
		return s.asMany(ctx, row)
	}
	compute := s.wholeDigest
	if s.driver.Properties().NativeDiff {
		compute = s.contentDigest
	}
	is, err := compute(ctx, row, func(int) error { return nil })
	if err == nil && is.String() != row.Digest {
		err = fmt.Errorf("%w: its files are not what was committed", ErrRecord)
	}
	return err
}

// ofAnother returns an error that matches ErrRecord when the record is that of
// another committed snapshot. It returns nil when the row has a digest, because
// the digest then shows whose files these are.
func ofAnother(row meta.Snapshot, record driver.Record) error {
	c, said, err := readCard(record)
	if !said || err != nil || c.Kind != meta.Committed || c.Name == row.Name || row.Digest != "" {
		return nil //nolint:nilerr // an unreadable record names no other snapshot
	}
	return fmt.Errorf("%w: it is that of snapshot %q, and nothing tells whose files these are", ErrRecord, c.Name)
}

func (s *Snapshotter) asMany(ctx context.Context, row meta.Snapshot) error {
	if row.Usage.Inodes == 0 { // the row of an early version
		return nil
	}
	is, err := s.driver.Usage(ctx, layerOf(row))
	if err == nil && is.Inodes != row.Usage.Inodes {
		err = fmt.Errorf("%w: it has %d files, and had %d when it was committed", ErrRecord, is.Inodes, row.Usage.Inodes)
	}
	return err
}
