package aufs

import (
	"context"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// CheckWriters asks the module, which lists the branches of every aufs in every
// mount namespace. If the module does not list them (brs=1), they are in the
// mount tables, so CheckWriters also reads the mount tables of other processes.
func (d *backend) CheckWriters(ctx context.Context, id driver.ID) error {
	return layerdir.AwaitNoWriters(ctx, func() error {
		used, err := layerdir.BranchWritableElsewhere(d.store.branch(id))
		if err != nil {
			return err
		}
		holders, seen, err := d.store.records.SilenceElsewhere(id)
		if err != nil {
			return err
		}
		if used && len(holders) == 0 && !seen {
			return fmt.Errorf("%w: an aufs has it as a writable branch, mounted where this process cannot look, or unmounted with files open", driver.ErrBusy)
		}
		return layerdir.HeldBy(holders)
	})
}

// SeesUnmounted implements [driver.WriterFinder].
func (d *aufs) SeesUnmounted() bool { return true }
