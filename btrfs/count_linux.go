package btrfs

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// usageSince counts what was added to the subvolume at path vol since the
// transaction base. It uses the same search as a diff. It counts inodes created
// since base, and extents allocated since base. It counts an extent once even
// if many files share it. With base 0 it counts everything in the subvolume.
//
// A reference to an older extent counts nothing; a reflink copy of a file of
// the parent has only such references. A deleted file counts until it is
// closed. Nested subvolumes do not count.
func usageSince(ctx context.Context, vol string, base uint64, sealed bool) (driver.Usage, error) {
	f, err := os.Open(vol)
	if err != nil {
		return driver.Usage{}, err
	}
	defer f.Close()
	if !sealed {
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			return driver.Usage{}, &os.PathError{Op: "syncfs", Path: vol, Err: err}
		}
	}
	c := usageCount{base: base}
	seen := 0
	err = subvol.Each(f, inodesSince(base), func(i subvol.Item) error {
		if seen++; seen%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return c.item(i)
	})
	if err != nil {
		return driver.Usage{}, fmt.Errorf("count what is in %s: %w", vol, err)
	}
	return c.usage(), nil
}

// A usageCount adds up inodes and extents.
type usageCount struct {
	base    uint64
	inodes  int64
	inline  int64
	extents []extent
}

type extent struct{ disk, bytes uint64 }

func (c *usageCount) item(i subvol.Item) error {
	switch i.Key.Type {
	case subvol.InodeItem:
		n, err := i.Inode()
		if err == nil && n.Generation > c.base && i.Key.ObjectID > subvol.FirstInode {
			c.inodes++
		}
		return err
	case subvol.ExtentData:
		e, err := i.Extent()
		if err != nil || e.Generation <= c.base {
			return err
		}
		if e.Disk == 0 {
			c.inline += int64(e.DiskBytes)
			return nil
		}
		if n := len(c.extents); n == 0 || c.extents[n-1].disk != e.Disk {
			c.extents = append(c.extents, extent{e.Disk, e.DiskBytes})
		}
	}
	return nil
}

func (c *usageCount) usage() driver.Usage {
	u := driver.Usage{Inodes: c.inodes, Bytes: c.inline}
	slices.SortFunc(c.extents, func(a, b extent) int { return cmp.Compare(a.disk, b.disk) })
	last := uint64(0)
	for _, e := range c.extents {
		if e.disk != last {
			u.Bytes += int64(e.bytes)
		}
		last = e.disk
	}
	return u
}
