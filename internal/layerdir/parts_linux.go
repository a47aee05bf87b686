package layerdir

import (
	"context"

	"github.com/layerkeep/layerkeep/driver"
)

// Parts are the optional interfaces of a driver whose layers are whole
// directories of a Store: [driver.Recorder], [driver.Rerecorder],
// [driver.Replacer] and [driver.Placer].
type Parts struct {
	Recorder
	Rerecorder
	Replacer
	Placer
}

// Parts returns the parts for the driver with the given name. For tree and look
// see Rerecorder.
func (s *Store) Parts(name, tree string, look func(ctx context.Context, id driver.ID, m *Meta) error) Parts {
	return Parts{s.Recorder(name), s.Rerecorder(name, tree, look), s.Replacer(name), Placer{s}}
}

// A Placer is a [driver.Placer] for a driver that has a Store.
type Placer struct{ store *Store }

// Place implements [driver.Placer].
func (p Placer) Place() string { return p.store.Root() }

// Leftovers implements [driver.Placer].
func (p Placer) Leftovers() bool { return p.store.Leftovers() }
