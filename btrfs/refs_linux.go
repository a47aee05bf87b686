package btrfs

import (
	"errors"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// errStop ends a search early.
var errStop = errors.New("stop")

// parent returns the directory that has a directory, and the name there. It
// returns 0 for the root of the subvolume.
func (t *tree) parent(ino uint64) (dir uint64, name string, err error) {
	q := subvol.OfInode(ino, subvol.InodeRef, subvol.InodeRef)
	q.Few = true
	err = t.each(q, func(i subvol.Item) error {
		return i.Refs(func(d uint64, n []byte) error {
			dir, name = d, string(n)
			return errStop
		})
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	if dir == ino { // the root is its own parent
		return 0, "", err
	}
	return dir, name, err
}

// namesIn calls visit with the names that an inode has in a directory.
func (t *tree) namesIn(ino, dir uint64, visit func(name string)) error {
	q := refsOf(ino)
	q.Min.Offset = dir
	return t.each(q, func(i subvol.Item) error {
		return i.Refs(func(d uint64, name []byte) error {
			if d == dir {
				visit(string(name))
			}
			return nil
		})
	})
}

// inPlace reports whether the directory with this name in a known directory of
// t has the same place on the old side, and is not a new directory with the
// same inode number.
func (t *tree) inPlace(ino, dir uint64, name string) (bool, error) {
	if ino <= subvol.FirstInode {
		return false, nil
	}
	entry, changed := t.since.find(ino)
	if !changed {
		return true, nil // the inode did not change, so it was not renamed either
	}
	if entry&newBit != 0 {
		return false, nil
	}
	oldDir, oldName, err := t.old.parent(ino)
	return oldDir == dir && oldName == name, err
}

// maxDepth ends a climb that would be endless in a corrupt tree.
const maxDepth = 1 << 20

// Links returns the paths of all names of a file.
func (t *tree) Links(n diff.Node) ([]string, bool, error) {
	if n.Dev != t.dev || n.IsDir() {
		return nil, false, nil
	}
	if err := t.sync(); err != nil {
		return nil, false, err
	}
	var paths []string
	dirs := map[uint64]place{t.ino: {shown: true}}
	err := t.each(subvol.OfInode(n.Ino, subvol.InodeRef, subvol.InodeExtref), func(i subvol.Item) error {
		return i.Refs(func(dir uint64, name []byte) error {
			in, err := t.place(dir, dirs)
			if err == nil && in.shown {
				paths = append(paths, in.prefix+string(name))
			}
			return err
		})
	})
	return paths, err == nil, err
}

// A place is the position of a directory: the prefix of the paths of everything
// in it. A directory that is not below the tree's root is not shown.
type place struct {
	prefix string
	shown  bool
}

// place finds the place of a directory. It uses and extends the places found
// before.
func (t *tree) place(ino uint64, found map[uint64]place) (place, error) {
	type step struct {
		ino  uint64
		name string
	}
	var climbed []step
	at, ok := found[ino]
	for !ok && ino > subvol.FirstInode {
		if len(climbed) > maxDepth {
			return place{}, subvol.ErrCorrupt
		}
		up, name, err := t.parent(ino)
		if err != nil {
			return place{}, err
		}
		climbed = append(climbed, step{ino, name})
		ino = up
		at, ok = found[ino]
	}
	for i := len(climbed) - 1; i >= 0; i-- {
		if at.shown {
			at.prefix += climbed[i].name + "/"
		}
		found[climbed[i].ino] = at
	}
	return at, nil
}
