package vfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// NoWriters makes copies of the layer's mounts read-only that other mount namespaces have,
// and then looks at each file of the layer: one can be open for writing through a mount
// that is gone.
func (d *vfs) NoWriters(ctx context.Context, id driver.ID) error {
	err := d.store.NotWritableElsewhere(ctx, id)
	if err == nil {
		err = layerdir.AwaitNoWriters(ctx, func() error { return d.noOpenFiles(ctx, id) })
	}
	if err != nil {
		return fmt.Errorf("vfs: look for who writes to layer %s: %w", id, err)
	}
	return nil
}

func (d *vfs) noOpenFiles(ctx context.Context, id driver.ID) error {
	_, err := layerdir.UsageVisiting(ctx, d.store.Path(id, treeDir), func(dir *rootfd.Dir, name string) error {
		if name == "" {
			return nil // the root
		}
		st, err := dir.Lookup(name)
		if errors.Is(err, unix.ENOENT) || err == nil && !st.IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		return notOpenForWriting(dir, name)
	})
	return err
}

// notOpenForWriting asks for a lease, which the kernel refuses while somebody has the file
// open for writing. Where there are no leases nothing is known.
func notOpenForWriting(dir *rootfd.Dir, name string) error {
	f, err := dir.Open(name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.FcntlInt(uintptr(f.Fd()), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("%w: %s/%s is open for writing", driver.ErrBusy, dir.Path(), name)
	}
	return nil // it ends with the descriptor
}

// SeesUnmounted implements [driver.WriterFinder].
func (d *vfs) SeesUnmounted() bool { return true }
