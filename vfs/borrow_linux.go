package vfs

import (
	"encoding/json"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// Borrow implements [driver.Borrower]. A tree means the same everywhere.
func (d *vfs) Borrow(prefix, dir string, _ json.RawMessage) error {
	if err := d.store.Borrow(prefix, dir, treeDir); err != nil {
		return fmt.Errorf("vfs: layers of %s: %w", dir, err)
	}
	return nil
}

// load is the record of a layer whose nearest parent is there, if it is borrowed.
func (d *vfs) load(id driver.ID) (layerdir.Meta, error) {
	m, err := d.store.Load(id)
	if err == nil && len(m.Parents) > 0 {
		err = d.store.CheckLent(m.Parents[0])
	}
	return m, err
}
