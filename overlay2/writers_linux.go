package overlay2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// CheckWriters asks the kernel, which marks the work directory of each overlay.
// The kernel sees overlays in every mount namespace, and overlays that are
// unmounted but have open files. If the kernel cannot be asked, CheckWriters
// reads the mount tables of other processes.
func (d *backend) CheckWriters(ctx context.Context, id driver.ID) error {
	return layerdir.AwaitNoWriters(ctx, func() error { return d.noWriters(ctx, id) })
}

// workInUse asks the kernel whether an overlay uses the work directory. On a
// full disk the kernel cannot be asked.
func (d *backend) workInUse(ctx context.Context, id driver.ID, work string) (used, known bool, err error) {
	dir, done, err := d.store.Staging(id)
	if err == nil {
		defer done()
		used, known, err = d.mounter().WorkInUse(ctx, work, dir, d.features.UserXattr)
	}
	if durable.NoRoom(err) {
		return false, false, nil
	}
	return used, known, err
}

// readOnlyHere reports whether the layer is mounted read-only in this mount
// namespace. Seal allows that.
func (d *backend) readOnlyHere(id driver.ID) bool {
	use, err := d.store.Mounted(id)
	return err == nil && use == layerdir.MountedReadOnly
}

func (d *backend) noWriters(ctx context.Context, id driver.ID) error {
	work := d.store.Path(id, workDir)
	// The kernel makes this directory at the first writable mount.
	if _, err := os.Lstat(work + "/work"); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	used, known, err := d.workInUse(ctx, id, work)
	if err != nil || known && !used {
		return err
	}
	holders, seen, err := d.store.SilenceElsewhere(id)
	if err != nil {
		return err
	}
	if used && len(holders) == 0 && !seen && !d.readOnlyHere(id) {
		return fmt.Errorf("%w: the kernel says that an overlay of it is still in use, mounted where this process cannot look, or unmounted with files open", driver.ErrBusy)
	}
	return layerdir.HeldBy(holders)
}

// SeesUnmounted implements [driver.WriterFinder].
func (d *overlay) SeesUnmounted() bool { return true }
