package vfs

import (
	"context"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// CheckHints implements [driver.HintKeeper]. It reads the manifest.
func (d *backend) CheckHints(_ context.Context, id driver.ID) error {
	m, err := d.store.Load(id)
	if err == nil && d.hasManifest(id, m) {
		_, err = loadManifest(d.store.Path(id, manifestFile))
	}
	if err != nil {
		return fmt.Errorf("vfs: hints of layer %s: %w", id, err)
	}
	return nil
}

// RenewHints implements [driver.HintKeeper].
func (d *backend) RenewHints(ctx context.Context, id driver.ID) error {
	m, err := d.store.Load(id)
	if err == nil {
		err = d.store.Changeable()
	}
	if err == nil {
		err = d.rehint(ctx, id, &m)
	}
	if err != nil {
		return fmt.Errorf("vfs: write the hints of layer %s: %w", id, err)
	}
	return nil
}

// hasManifest reports whether a layer must have a manifest in this store.
func (d *backend) hasManifest(id driver.ID, m layerdir.Meta) bool {
	return !m.View && len(m.Parents) > 0 && !d.store.Lent(id)
}

// rehint writes a manifest for a layer whose manifest is missing or cannot be
// read. The new manifest has no directory, so that everything is compared: it
// is no longer known what was copied unchanged.
func (d *backend) rehint(_ context.Context, id driver.ID, m *layerdir.Meta) error {
	path := d.store.Path(id, manifestFile)
	if !d.hasManifest(id, *m) {
		return nil
	}
	if _, err := loadManifest(path); err == nil {
		return nil
	}
	var nothing recording
	return nothing.save(path, time.Unix(0, 0))
}
