package overlay2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// refind adds to the new record of a layer what its files show: whether there
// are escaped attributes, and files whose content is in a lower layer.
func (d *backend) refind(ctx context.Context, id driver.ID, m *layerdir.Meta) error {
	for _, name := range []string{deltaDir, deltaFile} {
		if _, err := os.Lstat(d.store.Path(id, name)); err == nil {
			return fmt.Errorf("%w: it was unpacked without its parents", driver.ErrUnsupported)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err := layerdir.UsageVisiting(ctx, d.store.Path(id, fsDir), func(dir *rootfd.Dir, name string) error {
		attrs, err := dir.XattrNames(name)
		m.Escaped = m.Escaped || slices.ContainsFunc(attrs, d.marks.isEscaped)
		m.Metacopy = m.Metacopy || slices.Contains(attrs, d.marks.metacopy())
		return err
	})
	return err
}
