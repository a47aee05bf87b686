package aufs

import (
	"context"
	"errors"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// A mounter says how layers are mounted on this kernel.
type mounter struct{}

// newMounter tries what this kernel can mount. In dir, which exists, it keeps
// translations.
func newMounter(ctx context.Context, dir string, opts driver.Options) (*mounter, error) {
	return &mounter{}, nil
}

// writable reports whether writable layers can be mounted: the kernel has aufs.
func (m *mounter) writable() bool { return false }

// mount says how to mount the view that l describes.
func (m *mounter) mount(ctx context.Context, l layers, opts driver.MountOptions) ([]mount.Mount, error) {
	return nil, errors.ErrUnsupported
}

// drop removes what was made of a layer, which is going to be removed. A layer of
// which nothing was made is no error; what is mounted is driver.ErrBusy.
func (m *mounter) drop(id driver.ID) error { return nil }

// cleanup removes the translations of layers that keep does not name, and what
// interrupted calls left.
func (m *mounter) cleanup(ctx context.Context, keep func(driver.ID) bool) error { return nil }

// close waits for work in the background.
func (m *mounter) close() error { return nil }
