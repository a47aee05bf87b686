package overlay2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A layer may have extended attributes in overlay's own namespace, for example
// from an image that contains overlay layers. They are stored escaped:
// unescaped, they would hide or show files of the host. Kernels before 6.7 hide
// escaped attributes in a mount, so the mount would differ from one on a newer
// kernel. Such a layer is therefore refused on these kernels.

// errEscaped returns the error for a layer with escaped attributes on a kernel
// that cannot show them.
func (d *backend) errEscaped() error {
	return fmt.Errorf("%w: it has extended attributes named %s*, which overlay can show from Linux 6.7 on",
		driver.ErrUnsupported, d.marks.XattrPrefix())
}

// recordEscaped writes into a layer's record that the layer will have escaped
// attributes.
func (d *backend) recordEscaped(id driver.ID, m layerdir.Meta, escaped bool) error {
	if !escaped || m.Escaped {
		return nil
	}
	m.Escaped = true
	return d.store.Save(id, m)
}

// survey returns the usage of a layer's files, and whether one of them has
// escaped attributes. Programs can set such attributes through a mount. So
// survey looks for them only in a layer that was mounted writable, and saves
// the time for other layers.
func (d *backend) survey(ctx context.Context, id driver.ID) (usage driver.Usage, escaped bool, err error) {
	tree := d.store.Path(id, fsDir)
	// The kernel makes this directory at the first writable mount.
	if _, err := os.Lstat(d.store.Path(id, workDir, "work")); errors.Is(err, os.ErrNotExist) {
		usage, err = layerdir.Usage(ctx, tree)
		return usage, false, err
	} else if err != nil {
		return usage, false, err
	}
	usage, err = layerdir.UsageVisiting(ctx, tree, func(dir *rootfd.Dir, name string) error {
		attrs, err := dir.XattrNames(name)
		escaped = escaped || slices.ContainsFunc(attrs, d.marks.isEscaped)
		return err
	})
	return usage, escaped, err
}
