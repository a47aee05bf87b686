package snapshotter

import (
	"context"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Rerecord has the record of a snapshot's layer written anew from the row, where it is lost or
// damaged and the files of the layer are there. A committed layer is sealed again; where its
// commit has kept a digest of its changes, they must have it: an error that matches ErrRecord
// says that they do not, and the layer is as damaged then as it was. The layers below have to
// be sound. With dryRun it only says whether it would try. Returns [driver.ErrUnsupported] where the
// driver cannot do it.
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
	case dryRun:
		return nil
	}
	var above []driver.ID
	for _, parent := range chain[1:] {
		above = append(above, layerOf(parent))
	}
	opts := driver.CreateOptions{View: row.Kind == meta.View && len(above) > 0}
	if opts.Note, err = s.note(row); err != nil {
		return err
	}
	if row.Kind != meta.Committed { // else it has neither any more
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
	ctx = context.WithoutCancel(ctx) // half of it would be worse than none
	if err := s.driver.Seal(ctx, layerOf(row)); err != nil {
		return err
	}
	if row.Digest == "" {
		return nil
	}
	is, err := s.contentDigest(ctx, row, func(int) error { return nil })
	if err == nil && is.String() != row.Digest {
		err = fmt.Errorf("%w: its files are not what was committed", ErrRecord)
	}
	return err
}
