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

// A layer may have extended attributes of overlay's own namespace, as an image
// with overlays in it has. They are kept escaped: active, they would hide or
// show files of the host. Kernels before 6.7 hide escaped attributes, so what
// such a layer says cannot be shown there. It is refused there by name: another
// answer than on a newer kernel would be given otherwise.

// errEscaped says why a layer with escaped attributes is refused.
func (d *backend) errEscaped() error {
	return fmt.Errorf("%w: it has extended attributes named %s*, which overlay can show from Linux 6.7 on",
		driver.ErrUnsupported, d.marks.XattrPrefix())
}

// recordEscaped writes into a layer's record that it is going to have escaped
// attributes.
func (d *backend) recordEscaped(id driver.ID, m layerdir.Meta, escaped bool) error {
	if !escaped || m.Escaped {
		return nil
	}
	m.Escaped = true
	return d.store.Save(id, m)
}

// survey returns what a layer's files take, and whether one of them has escaped
// attributes. A program can have set these through a mount, so they are looked
// for in a layer that was mounted writable, not in others, which take no time
// for it.
func (d *backend) survey(ctx context.Context, id driver.ID) (usage driver.Usage, escaped bool, err error) {
	tree := d.store.Path(id, fsDir)
	// The kernel makes the directory when it mounts the first time.
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
