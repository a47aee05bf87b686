package layerdir

import (
	"context"
	"os"

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
	m, err := s.Load(id)
	if err != nil {
		return driver.Usage{}, err
	}
	return m.UsageOr(func() (driver.Usage, error) { return Usage(ctx, s.Path(id, tree)) })
}

// Unpacking makes the directory that a layer is unpacked into, after all that
// has to be asked before. done closes and removes it.
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
