package vfs

import (
	"encoding/json"
	"fmt"
)

// Borrow implements [driver.Borrower]. A vfs tree has no marks, so it means the
// same in every store.
func (d *backend) Borrow(prefix, dir string, _ json.RawMessage) error {
	if err := d.store.Borrow(prefix, dir, treeDir); err != nil {
		return fmt.Errorf("vfs: layers of %s: %w", dir, err)
	}
	return nil
}
