package layerdir

import (
	"context"

	"github.com/layerkeep/layerkeep/driver"
)

// Parts are what a driver can do whose layers are whole directories of a Store:
// it is a [driver.Recorder], [driver.Rerecorder], [driver.Replacer] and
// [driver.Placer].
type Parts struct {
	Recorder
	Rerecorder
	Replacer
	Placer
}

// Parts returns those of the driver of that name. tree and look are as for
// Rerecorder.
func (s *Store) Parts(name, tree string, look func(ctx context.Context, id driver.ID, m *Meta) error) Parts {
	return Parts{s.Recorder(name), s.Rerecorder(name, tree, look), s.Replacer(name), Placer{s}}
}

// A Placer is a [driver.Placer] for a driver that has a Store.
type Placer struct{ store *Store }

// Place implements [driver.Placer].
func (p Placer) Place() string { return p.store.Root() }

// Leftovers implements [driver.Placer].
func (p Placer) Leftovers() bool { return p.store.Leftovers() }
