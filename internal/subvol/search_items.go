package subvol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt says that an item is not as the format says.
var ErrCorrupt = errors.New("corrupt item in a btrfs tree")

func corrupt(k Key, what string) error {
	return fmt.Errorf("%w: %s in (%d %d %d)", ErrCorrupt, what, k.ObjectID, k.Type, k.Offset)
}

// Items are little-endian on every machine; struct btrfs_inode_item and the
// others of linux/btrfs_tree.h are packed.
var le = binary.LittleEndian

// An Inode is what an InodeItem says.
type Inode struct {
	// Generation is the transaction that created the inode.
	Generation uint64
	// Transid is the transaction that last wrote the inode.
	Transid uint64
	Size    uint64
	Nlink   uint32
	Mode    uint32
	// Flags are those of btrfs itself, see InodeFrozen.
	Flags uint64
	// Rest is everything that a change of the file or directory changes: the
	// item without its transaction and without the access time. It is lent.
	Rest [2][]byte
}

// InodeFrozen are the flags of an inode that was made immutable or append-only:
// BTRFS_INODE_IMMUTABLE and BTRFS_INODE_APPEND.
const InodeFrozen = 1<<6 | 1<<7

// Parts of struct btrfs_inode_item.
const (
	inodeSize    = 160
	inodeTransid = 8
	inodeAtime   = 112
	inodeCtime   = 124
)

// Inode takes an InodeItem apart.
func (i Item) Inode() (Inode, error) {
	b := i.Data
	if len(b) < inodeSize {
		return Inode{}, corrupt(i.Key, "short inode")
	}
	return Inode{
		Generation: le.Uint64(b), Transid: le.Uint64(b[inodeTransid:]), Size: le.Uint64(b[16:]),
		Nlink: le.Uint32(b[40:]), Mode: le.Uint32(b[52:]), Flags: le.Uint64(b[64:]),
		Rest: [2][]byte{b[inodeTransid+8 : inodeAtime], b[inodeCtime:]},
	}, nil
}

// Refs calls visit with the directory and the name of every link in an InodeRef
// or InodeExtref item. The name is lent.
func (i Item) Refs(visit func(dir uint64, name []byte) error) error {
	for b := i.Data; len(b) > 0; {
		dir := i.Key.Offset
		if i.Key.Type == InodeExtref {
			if len(b) < 8 {
				return corrupt(i.Key, "short reference")
			}
			dir, b = le.Uint64(b), b[8:]
		}
		if len(b) < 10 {
			return corrupt(i.Key, "short reference")
		}
		size := int(le.Uint16(b[8:]))
		b = b[10:]
		if !isName(b, size) {
			return corrupt(i.Key, "bad name")
		}
		if err := visit(dir, b[:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// maxName is BTRFS_NAME_LEN.
const maxName = 255

func isName(b []byte, size int) bool {
	return size > 0 && size <= maxName && size <= len(b) && !bytes.ContainsAny(b[:size], "/\x00")
}

// An Entry is what a DirIndex item says: one name in a directory.
type Entry struct {
	// Ino is the inode, or the tree of a nested subvolume.
	Ino       uint64
	Subvolume bool
	// Name is lent.
	Name []byte
}

// Entry takes a DirIndex item apart.
func (i Item) Entry() (Entry, error) {
	const header = 30
	b := i.Data
	if len(b) < header {
		return Entry{}, corrupt(i.Key, "short directory entry")
	}
	size := int(le.Uint16(b[27:]))
	if !isName(b[header:], size) {
		return Entry{}, corrupt(i.Key, "bad name")
	}
	return Entry{Ino: le.Uint64(b), Subvolume: b[8] == RootItem, Name: b[header : header+size]}, nil
}

// An Extent is what an ExtentData item says: where a part of a file is.
type Extent struct {
	// Generation is the transaction that allocated the extent.
	Generation uint64
	// Disk is where the extent is and DiskBytes what it takes there; both are 0
	// for a hole, and Disk is 0 for what is in the tree itself.
	Disk, DiskBytes uint64
	// Encoded: kept in a way of which equal bytes do not mean equal content.
	Encoded bool
	// Place is all of the item that decides on the content. It is lent.
	Place []byte
}

// Extent takes an ExtentData item apart.
func (i Item) Extent() (Extent, error) {
	const (
		inlineAt = 21
		size     = 53
		inline   = 0
	)
	b := i.Data
	if len(b) < inlineAt {
		return Extent{}, corrupt(i.Key, "short extent")
	}
	e := Extent{Generation: le.Uint64(b), Encoded: b[17] != 0 || b[18] != 0 || b[19] != 0, Place: b[8:]}
	if b[20] == inline {
		e.DiskBytes = uint64(len(b) - inlineAt)
		return e, nil
	}
	if len(b) < size {
		return Extent{}, corrupt(i.Key, "short extent")
	}
	e.Disk, e.DiskBytes = le.Uint64(b[inlineAt:]), le.Uint64(b[inlineAt+8:])
	return e, nil
}
