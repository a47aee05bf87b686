package btrfs

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// needQuotas switches quotas on for the file system of f if they are off. It
// prefers simple quotas, which cost almost nothing and need Linux 6.7, over
// quota groups. It does not change the kind of quotas that are already on.
func (d *backend) needQuotas(f *os.File) error {
	d.quotas.Lock()
	defer d.quotas.Unlock()
	q, err := subvol.QuotasOf(f)
	if err != nil {
		return err
	}
	if q.On && q.Inconsistent {
		d.log.Warn("counting what is on the file system, as its quota groups are inconsistent", "path", f.Name())
		return subvol.Rescan(f)
	}
	if q.On && !q.Simple { // another program may have switched them on a moment ago
		return subvol.AwaitRescan(f)
	}
	if q.On {
		return nil
	}
	d.log.Warn("switching on quotas for the file system", "path", f.Name())
	if !d.opts.Fallbacks.NoSimpleQuota {
		err := subvol.EnableQuota(f, true)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return subvol.EnableQuota(f, false)
}

// inheritNoLimit removes the limit of a new snapshot. With quota groups, a
// snapshot inherits the limit of its source.
func (d *backend) inheritNoLimit(path string) error {
	vol, err := os.Open(path)
	if err != nil {
		return err
	}
	defer vol.Close()
	info, err := subvol.InfoOf(vol)
	if err != nil {
		return err
	}
	q, _, err := subvol.QgroupOf(vol, info.ID)
	if err != nil || q.Limit == 0 {
		return err
	}
	return subvol.Limit(vol, info.ID, subvol.NoLimit)
}

// limit limits the bytes that only the subvolume at path has.
func (d *backend) limit(path string, size uint64) error {
	vol, err := os.Open(path)
	if err != nil {
		return err
	}
	defer vol.Close()
	info, err := subvol.InfoOf(vol)
	if err != nil {
		return err
	}
	err = subvol.Limit(vol, info.ID, size)
	if errors.Is(err, unix.ENOTCONN) {
		// The layer had a limit before. Refusing to mount it now would not help.
		d.log.Warn("a layer has lost its limit: quotas were switched off for the file system", "path", path)
		return nil
	}
	return err
}

// unlimited calls fn while the layer's limit is lifted.
func (d *backend) unlimited(id driver.ID, m layerdir.Meta, fn func() error) error {
	if m.Size == 0 {
		return fn()
	}
	vol := d.store.Path(id, volDir)
	if err := d.limit(vol, subvol.NoLimit); err != nil {
		return err
	}
	return errors.Join(fn(), d.limit(vol, uint64(m.Size)))
}

// Usage counts what was added since the snapshot of the parent, by searching
// for it. If the layer has a limit, Bytes is the number that counts against the
// limit, which includes metadata of the file system.
func (d *backend) Usage(ctx context.Context, l layerlife.Layer) (driver.Usage, error) {
	return d.measure(ctx, l.ID, l.Meta, false)
}

// measure counts what a layer takes. synced says that everything is on disk.
func (d *backend) measure(ctx context.Context, id driver.ID, m layerdir.Meta, synced bool) (driver.Usage, error) {
	base, err := d.base(id, m)
	if err != nil {
		return driver.Usage{}, err
	}
	path := d.store.Path(id, volDir)
	u, err := usageSince(ctx, path, base, synced)
	if err != nil || m.Size == 0 {
		return u, err
	}
	vol, err := os.Open(path)
	if err != nil {
		return driver.Usage{}, err
	}
	defer vol.Close()
	counted, ok, err := counted(vol)
	if err == nil && ok {
		u.Bytes = counted
	}
	return u, err
}

// counted returns the bytes that count against the limit of a subvolume. ok is
// false if they are not known.
func counted(vol *os.File) (bytes int64, ok bool, err error) {
	state, err := subvol.QuotasOf(vol)
	if err != nil || !state.On || state.Inconsistent {
		return 0, false, err
	}
	info, err := subvol.InfoOf(vol)
	if err != nil {
		return 0, false, err
	}
	q, ok, err := subvol.QgroupOf(vol, info.ID)
	return int64(q.Exclusive), ok, err
}
