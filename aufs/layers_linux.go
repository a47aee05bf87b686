package aufs

import (
	"context"
	"errors"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// layers are the branches of one merged tree.
type layers struct {
	// id is the layer with this merged tree. With own, the layer's own branch is
	// the first one.
	id  driver.ID
	own bool
	// sealed: the first branch does not change any more.
	sealed bool
	// ids are the layers and branches are their directories (absolute paths),
	// uppermost first.
	ids      []driver.ID
	branches []string
	// label is the source of a mount of the layer in the mount table.
	label string
	// target is the classic mount point, mnt/<id>.
	target string
}

// layers returns the branches of the layer's merged tree.
func (d *backend) layers(id driver.ID) (layers, error) {
	m, err := d.store.Load(id)
	if err != nil {
		return layers{}, err
	}
	return d.branches(id, m), nil
}

// branches is layers for a record that was already loaded.
func (d *backend) branches(id driver.ID, m layerdir.Meta) layers {
	l := layers{
		id: id, own: !m.View, sealed: m.Sealed || m.View, ids: m.Parents,
		label: layerdir.Label(d.store.records.Path(id)), target: d.store.mnt(id),
	}
	if l.own {
		l.ids = append([]driver.ID{id}, m.Parents...)
	}
	for _, b := range l.ids {
		l.branches = append(l.branches, d.store.branch(b))
	}
	return l
}

// all returns all layers, those of this driver and foreign ones. It skips
// layers that disappear meanwhile.
func (d *backend) all(ctx context.Context) ([]layers, error) {
	ids, err := d.store.oursAndForeign(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]layers, 0, len(ids))
	for _, id := range ids {
		l, err := d.layers(id)
		switch {
		case errors.Is(err, driver.ErrNotFound):
			continue
		case err != nil:
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// oursAndForeign lists the layers that this driver made, and those of other
// engines.
func (s *store) oursAndForeign(ctx context.Context) ([]driver.ID, error) {
	ids, err := s.List()
	if err != nil {
		return nil, err
	}
	foreign, err := s.foreign(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range foreign {
		ids = append(ids, f.ID)
	}
	return ids, nil
}
