package layerdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/layerkeep/layerkeep/driver"
)

// A Rerecorder implements [driver.Rerecorder] for a driver that has a Store.
type Rerecorder struct {
	store *Store
	// driver is the driver's name, for errors. tree is the name of the directory in
	// a layer that has the layer's files.
	driver, tree string
	// look adds to a record what can only be learned from the layer's files.
	look func(ctx context.Context, id driver.ID, m *Meta) error
}

// Rerecorder returns the [driver.Rerecorder] for the driver with the given
// name. look may be nil.
func (s *Store) Rerecorder(name, tree string, look func(ctx context.Context, id driver.ID, m *Meta) error) Rerecorder {
	return Rerecorder{s, name, tree, look}
}

// Rerecord implements [driver.Rerecorder].
func (r Rerecorder) Rerecord(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	m := Meta{Parents: parents, View: opts.View, Size: opts.Size, IDMap: opts.IDMap, Note: opts.Note}
	if err := r.rerecord(ctx, id, m); err != nil {
		return fmt.Errorf("%s: write the record of layer %s: %w", r.driver, id, err)
	}
	return nil
}

func (r Rerecorder) rerecord(ctx context.Context, id driver.ID, m Meta) error {
	s := r.store
	if err := id.Validate(); err != nil {
		return err
	}
	if err := s.own(id); err != nil {
		return err
	}
	if err := s.Plain(id); err != nil {
		return err
	}
	inherited, err := s.CheckParents(m.Parents)
	if err != nil {
		return err
	}
	m.Inherit(inherited)
	if m.View {
		return s.Save(id, m)
	}
	if err := isDirectory(s.Path(id, r.tree)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("its files: %w", driver.ErrNotFound)
		}
		return err
	}
	if err := s.NotMounted(id, MountedReadOnly); err != nil {
		return err
	}
	if r.look != nil {
		if err := r.look(ctx, id, &m); err != nil {
			return err
		}
	}
	return s.Save(id, m)
}
