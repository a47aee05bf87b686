package btrfs

import (
	"bytes"
	"cmp"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// SameBody compares where the extents of two files are on disk. Shared extents
// cannot change under either file: a write goes to another place on disk, even
// with chattr +C as long as the extent has another user. So equal extents mean
// equal content, and a file that was only read need not be read again.
func (d *dir) SameBody(name string, old diff.Dir) (bool, error) {
	was, ok := old.(*dir)
	if !ok || was.tree != d.tree.old { // old may be a tree on another disk
		return false, nil
	}
	n, err := d.Dir.Lookup(name)
	if err != nil {
		return false, err
	}
	o, err := was.Dir.Lookup(name)
	if err != nil {
		return false, err
	}
	if n.Dev != d.tree.dev || o.Dev != was.tree.dev || !n.IsRegular() || !o.IsRegular() || n.Size != o.Size {
		return false, nil
	}
	if err := d.tree.sync(); err != nil {
		return false, err
	}
	if err := was.tree.sync(); err != nil {
		return false, err
	}
	return sameExtents(d.tree, n.Ino, was.tree, o.Ino)
}

// sameExtents reports whether two files have the same extents on disk.
func sameExtents(t *tree, ino uint64, old *tree, oldIno uint64) (bool, error) {
	a, b := old.extents(oldIno), t.extents(ino)
	defer a.Close()
	defer b.Close()
	for {
		t.work.items++
		more, moreNew := a.Next(), b.Next()
		if err := cmp.Or(a.Err(), b.Err()); err != nil {
			return false, err
		}
		if !more || !moreNew {
			return more == moreNew, nil
		}
		was, err := a.Item().Extent()
		if err != nil {
			return false, err
		}
		now, err := b.Item().Extent()
		if err != nil {
			return false, err
		}
		if a.Item().Key.Offset != b.Item().Key.Offset || was.Encoded || !bytes.Equal(was.Place, now.Place) {
			return false, nil
		}
	}
}

func (t *tree) extents(ino uint64) *subvol.Cursor {
	t.work.searches++
	return subvol.Search(t.vol, subvol.OfInode(ino, subvol.ExtentData, subvol.ExtentData))
}
