package aufs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// Replace implements [driver.Replacer]. It returns ErrBusy while the layer, or
// a layer over it, is mounted: an aufs mount would not notice that one of its
// branches is now another directory. It also drops the translations that have
// files of the old branch.
func (d *backend) Replace(ctx context.Context, id, made driver.ID) error {
	if err := d.replace(ctx, id, made); err != nil {
		return fmt.Errorf("aufs: replace layer %s: %w", id, err)
	}
	return nil
}

func (d *backend) replace(ctx context.Context, id, made driver.ID) error {
	if err := errors.Join(ctx.Err(), d.store.records.Changeable(), id.Validate(), made.Validate()); err != nil {
		return err
	}
	m, err := d.store.Load(made)
	if err != nil {
		return err
	}
	ours, err := d.store.ours(made)
	switch {
	case err != nil:
		return err
	case !ours:
		return fmt.Errorf("%w: another engine made %s", driver.ErrUnsupported, made)
	case !m.Sealed:
		return fmt.Errorf("%s: %w", made, driver.ErrNotSealed)
	}
	if err := d.store.idle(made); err != nil {
		return err
	}
	standing, err := d.standingOn(ctx, id)
	if err != nil {
		return err
	}
	if err := d.unused(standing); err != nil {
		return fmt.Errorf("what has it is in use: %w", err)
	}
	for _, l := range append(standing, made) {
		if err := d.mounts.drop(ctx, l); err != nil {
			return err
		}
	}
	return d.store.replace(id, made, m)
}

// standingOn returns a layer and all layers that have it as a parent. It
// includes layers whose record cannot be read, because their parents are
// unknown.
func (d *backend) standingOn(ctx context.Context, id driver.ID) ([]driver.ID, error) {
	ids, err := d.store.oursAndForeign(ctx)
	if err != nil {
		return nil, err
	}
	return layerdir.StandingOn(id, ids, d.store.Load), nil
}

// unused returns [driver.ErrBusy] if one of the layers is mounted in any mount
// namespace that this process may inspect.
func (d *backend) unused(ids []driver.ID) error {
	for _, id := range ids {
		if err := d.store.idle(id); err != nil {
			return fmt.Errorf("layer %s: %w", id, err)
		}
	}
	if err := d.store.records.NotMountedElsewhere(ids...); err != nil {
		return err
	}
	return d.mounts.translator.copies.NotMountedElsewhere(ids...)
}

// replace replaces the layer id by the layer made, whose record is m. It
// exchanges the branches in one step and then renews the record of id. Until
// then the old record is right, except for the usage and the note.
func (s *store) replace(id, made driver.ID, m layerdir.Meta) error {
	s.names.Lock()
	defer s.names.Unlock()
	there, err := s.ours(id)
	if err != nil {
		return err
	}
	if there {
		incomplete, err := s.incomplete(id)
		if err == nil && incomplete {
			there, err = false, s.erase(id)
		}
		if err != nil {
			return err
		}
	}
	if !there {
		if foreign, err := s.looksForeign(id); err != nil || foreign {
			return errors.Join(err, fmt.Errorf("%w: it has no record, so another engine made it", driver.ErrUnsupported))
		}
		if err := s.announce(id, m); err != nil {
			return err
		}
	}
	err = s.run(
		step{"exchange branches", func() error { return exchangeOrRename(s.branch(made), s.branch(id)) }},
	)
	if err != nil {
		if !there {
			err = errors.Join(err, s.erase(id))
		}
		return err
	}
	return s.run(
		step{"sync exchanged", func() error { return s.sync(diffDir) }},
		step{"renew record", func() error { return s.records.Renew(id, m) }},
		step{"mount point", func() error { return makeMissing(s.mnt(id)) }},
		step{"sync mount points", func() error { return s.sync(mntDir) }},
		step{"parents", func() error { return s.writeParents(id, m.Parents) }},
		step{"exist", func() error { return durable.OS().Remove(s.records.Path(id, incompleteName)) }},
		step{"sync record", func() error { return durable.OS().SyncDir(s.records.Path(id)) }},
		step{"drop made", func() error { return errors.Join(s.condemn(made), s.erase(made)) }},
	)
}

// looksForeign reports whether all files exist that another engine makes for a
// layer.
func (s *store) looksForeign(id driver.ID) (bool, error) {
	listed, err := exists(s.parentsFile(id))
	if err != nil || !listed {
		return false, err
	}
	return exists(s.branch(id))
}

// exchangeOrRename renames from to to. If to exists, it exchanges the two.
func exchangeOrRename(from, to string) error {
	taken, err := exists(to)
	if err != nil {
		return err
	}
	if !taken {
		return os.Rename(from, to)
	}
	return layerdir.Exchange(from, to)
}

func makeMissing(dir string) error {
	if err := makeDir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
