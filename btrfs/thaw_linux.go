package btrfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/subvol"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// thaw removes the flags of chattr(1) +i and +a from the files that changed in
// a layer. A layer cannot hold these flags, and the files could not be changed
// in snapshots of the layer. Everything must be on disk.
func (d *backend) thaw(ctx context.Context, id driver.ID, m layerdir.Meta) error {
	base, err := d.base(id, m)
	if err != nil {
		return err
	}
	t, err := openTree(d.vol(id, m), treeDir, treeOptions{sealed: true, read: d.read()})
	if err != nil {
		return err
	}
	err = t.thawSince(ctx, base)
	return errors.Join(err, t.Close())
}

func (t *tree) thawSince(ctx context.Context, base uint64) error {
	var frozen []uint64
	seen := 0
	err := t.each(inodesSince(base), func(i subvol.Item) error {
		if seen++; seen%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if i.Key.Type != subvol.InodeItem || i.Key.ObjectID <= subvol.FirstInode {
			return nil
		}
		n, err := i.Inode()
		if err == nil && n.Flags&subvol.InodeFrozen != 0 && n.Nlink > 0 {
			frozen = append(frozen, i.Key.ObjectID)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, ino := range frozen {
		if err := t.thawInode(ino); err != nil {
			return fmt.Errorf("make inode %d writable: %w", ino, err)
		}
	}
	return nil
}

// thawInode opens an inode by its first name and thaws it.
func (t *tree) thawInode(ino uint64) error {
	err := t.each(refsOf(ino), func(i subvol.Item) error {
		return i.Refs(func(dir uint64, name []byte) error {
			holder, err := subvol.OpenDir(t.vol, dir)
			if err != nil {
				return err
			}
			defer holder.Close()
			if err := sys.Thawat(int(holder.Fd()), string(name)); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
			return errStop
		})
	})
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}
