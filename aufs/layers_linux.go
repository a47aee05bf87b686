package aufs

import (
	"context"
	"errors"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// layers are the branches of one view.
type layers struct {
	// id is the layer whose view it is. With own, its branch is the first one.
	id  driver.ID
	own bool
	// sealed: nothing in the first branch changes any more.
	sealed bool
	// ids and branches name the layers and their directories (absolute paths),
	// uppermost first.
	ids      []driver.ID
	branches []string
	// label is the source under which a mount of it appears in the mount table.
	label string
	// target is the classic mount point, mnt/<id>.
	target string
}

// layers returns the branches of the layer's view.
func (d *backend) layers(id driver.ID) (layers, error) {
	m, err := d.store.Load(id)
	if err != nil {
		return layers{}, err
	}
	return d.branches(id, m), nil
}

// branches is layers for a record that was read.
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

// all returns all layers there are, ours and foreign. Those that disappear
// meanwhile are left out.
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

// oursAndForeign lists the layers that we made, and those of other engines.
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
