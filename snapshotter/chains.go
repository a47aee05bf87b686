package snapshotter

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// chains caches the layers of the snapshots that were last used as parents. An
// image of n layers is made by n commits, each over the one before. Without the
// cache they would read n*n/2 rows.
//
// The parents of a committed snapshot never change, and none of them can be
// removed while the snapshot exists. So a cache entry is valid when the row of
// the snapshot itself is the same as in the entry.
type chains struct {
	mu sync.Mutex
	// last are the chains, the most recently used at the end.
	last []chain
}

// maxChains is the largest number of cached chains. Each has up to a few
// hundred IDs.
const maxChains = 64

// A chain has the fields of a committed snapshot that identify it, and its
// layers, nearest first.
type chain struct {
	id                  uint64
	name, layer, parent string
	created             time.Time
	layers              []driver.ID
}

func (c chain) isOf(row meta.Snapshot) bool {
	return c.id == row.ID && c.name == row.Name && c.layer == row.Layer && c.parent == row.Parent && c.created.Equal(row.Created)
}

// find returns the layers of a row, or nil when the row is not in the cache.
// The caller must not change them.
func (c *chains) find(row meta.Snapshot) []driver.ID {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.last, func(known chain) bool { return known.isOf(row) })
	if i < 0 {
		return nil
	}
	known := c.last[i]
	c.last = append(slices.Delete(c.last, i, i+1), known)
	return known.layers
}

func (c *chains) add(row meta.Snapshot, layers []driver.ID) {
	if row.Kind != meta.Committed || row.State != meta.Ready {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) >= maxChains {
		c.last = slices.Delete(c.last, 0, 1)
	}
	c.last = append(c.last, chain{row.ID, row.Name, row.Layer, row.Parent, row.Created, layers})
}

// parents returns the layers of name and its parents, nearest first.
func (s *Snapshotter) parents(tx *meta.Tx, name string) ([]driver.ID, error) {
	var first meta.Snapshot
	var ids, known []driver.ID
	var circle meta.Circle
	for name != "" && known == nil {
		row, err := tx.Snapshot(name)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			first = row
		}
		if circle.Closed(row.Name) {
			return nil, fmt.Errorf("snapshot %q: %w: its parents form a circle", first.Name, meta.ErrDamaged)
		}
		if known = s.chains.find(row); known == nil {
			ids = append(ids, layerOf(row))
			name = row.Parent
		}
	}
	if len(ids) > 0 {
		ids = append(ids, known...)
		s.chains.add(first, ids)
		return slices.Clone(ids), nil
	}
	return slices.Clone(known), nil
}
