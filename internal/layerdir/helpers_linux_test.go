package layerdir

import (
	"context"
	"os"

	"github.com/layerkeep/layerkeep/driver"
)

// Seal calls SealWith, and sets the usage by counting the layer's directory
// tree.
func (s *Store) Seal(ctx context.Context, id driver.ID, tree string, prepare func(*Meta) error) error {
	return s.SealWith(id, prepare, func(m *Meta) error {
		usage, err := Usage(ctx, s.Path(id, tree))
		m.Usage = &usage
		return err
	})
}

// Usage returns the usage of the layer's directory tree, or the recorded usage
// of a sealed layer. It is zero for a view.
func (s *Store) Usage(ctx context.Context, id driver.ID, tree string) (driver.Usage, error) {
	m, err := s.Load(id)
	if err != nil {
		return driver.Usage{}, err
	}
	return m.UsageOr(func() (driver.Usage, error) { return Usage(ctx, s.Path(id, tree)) })
}

// Unpacking checks that the layer may be changed, and makes the directory that
// a layer tar is unpacked into. done closes and removes the directory.
func (s *Store) Unpacking(id driver.ID) (m Meta, staging *os.File, done func(), err error) {
	if m, err = s.Writable(id); err != nil {
		return m, nil, nil, err
	}
	if err := s.NotMounted(id, Unmounted); err != nil {
		return m, nil, nil, err
	}
	staging, done, err = s.OpenStaging(id)
	return m, staging, done, err
}
