package vfs

import (
	"context"
	"fmt"
	"time"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// CheckHints implements [driver.HintKeeper]: it reads the manifest.
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

// hasManifest reports whether a layer has to have one here.
func (d *backend) hasManifest(id driver.ID, m layerdir.Meta) bool {
	return !m.View && len(m.Parents) > 0 && !d.store.Lent(id)
}

// rehint gives a layer with this record a manifest if it has none that can be
// read. The new one knows no directory, so that all is compared: what was
// copied unchanged cannot be told any more.
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
