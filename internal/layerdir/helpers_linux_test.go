package layerdir

import (
	"context"

	"github.com/layerkeep/layerkeep/driver"
)

// Seal records the usage of the layer's directory tree, which it walks. For the
// rest see SealWith.
func (s *Store) Seal(ctx context.Context, id driver.ID, tree string, prepare func(*Meta) error) error {
	return s.SealWith(id, prepare, func(m *Meta) error {
		usage, err := Usage(ctx, s.Path(id, tree))
		m.Usage = &usage
		return err
	})
}

// Usage returns what the layer's directory tree takes, or took when it was
// sealed; nothing for a view.
func (s *Store) Usage(ctx context.Context, id driver.ID, tree string) (driver.Usage, error) {
	return s.UsageWith(id, func(Meta) (driver.Usage, error) { return Usage(ctx, s.Path(id, tree)) })
}
