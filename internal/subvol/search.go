package subvol

import "math"

// A Key is the key of an item in a tree. Items are ordered by ObjectID, then
// Type, then Offset.
type Key struct {
	ObjectID uint64
	Type     uint8
	Offset   uint64
}

// Types of items in the tree of a subvolume (linux/btrfs_tree.h).
const (
	InodeItem   = 1
	InodeRef    = 12 // the key's Offset is the directory
	InodeExtref = 13 // names that did not fit into the InodeRef
	DirIndex    = 96 // the key's Offset is the order in which names were made
	ExtentData  = 108
	RootItem    = 132 // in the location of a directory entry: another subvolume
)

// FirstInode is the inode number of the root directory of every subvolume; all
// others are higher, but for the empty directory that stands for a nested
// subvolume in a snapshot.
const FirstInode = 256

// MaxKey is the greatest of all keys.
func MaxKey() Key { return Key{math.MaxUint64, math.MaxUint8, math.MaxUint64} }

// next returns the key after k; ok is false after the last one.
func (k Key) next() (next Key, ok bool) {
	if k.Offset++; k.Offset != 0 {
		return k, true
	}
	if k.Type++; k.Type != 0 {
		return k, true
	}
	k.ObjectID++
	return k, k.ObjectID != 0
}

// An Item is one item of a tree.
type Item struct {
	Key Key
	// Data is lent until the Cursor goes on.
	Data []byte
}

// Trees that are not those of a subvolume (linux/btrfs_tree.h).
const (
	RootTree  = 1 // lists the subvolumes
	QuotaTree = 8 // only while quotas are on
)

// A Query says which items to look for.
type Query struct {
	// Tree is where to look; 0 for the subvolume that the file is in.
	Tree uint64
	// Min and Max are the first and the last key.
	Min, Max Key
	// MinTransid leaves out items of leaves that were last written in an earlier
	// transaction. An item in a later leaf need not be later itself.
	MinTransid uint64
	// Few says that few items are expected, so that a small buffer will do.
	Few bool
}

// OfInode returns the query for all items of one type, or of the types from
// first to last, that an inode has.
func OfInode(ino uint64, first, last uint8) Query {
	return Query{Min: Key{ino, first, 0}, Max: Key{ino, last, math.MaxUint64}}
}
