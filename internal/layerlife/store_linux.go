package layerlife

import (
	"context"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// A Store stores layers and their records. [layerdir.Store] implements it and
// documents the methods. A backend with another layout implements its own
// Store.
type Store interface {
	Changeable() error
	CheckParents(parents []driver.ID) (layerdir.Inherited, error)
	CreateWith(id driver.ID, m *layerdir.Meta, fill func(dir string) error) error
	Load(id driver.ID) (layerdir.Meta, error)
	Writable(id driver.ID) (layerdir.Meta, error)
	NotMounted(id driver.ID, allowed layerdir.Use) error
	Merging(id driver.ID, sync bool, merge func() error) error
	SealWith(id driver.ID, prepare, settle func(*layerdir.Meta) error) error
	RemoveIdle(id driver.ID) error
	List() ([]driver.ID, error)
	Cleanup(ctx context.Context) error
	Close() error
}

var _ Store = (*layerdir.Store)(nil)
