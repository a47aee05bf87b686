package subvol

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// A Nested is a subvolume in another one.
type Nested struct {
	ID uint64
	// Dir is the inode of the directory it is in.
	Dir  uint64
	Name string
}

// rootRef is the type of the items in the root tree that say which subvolumes
// another one holds.
const rootRef = 156

// NestedIn lists the subvolumes that are directly in the one that vol is in; it
// walks nothing.
func NestedIn(vol *os.File) ([]Nested, error) {
	info, err := InfoOf(vol)
	if err != nil {
		return nil, err
	}
	return nestedIn(vol, info.ID)
}

func nestedIn(f *os.File, id uint64) (nested []Nested, err error) {
	q := OfInode(id, rootRef, rootRef)
	q.Tree, q.Few = RootTree, true
	err = Each(f, q, func(i Item) error {
		n, err := i.nested()
		nested = append(nested, n)
		return err
	})
	return nested, err
}

// nested takes a struct btrfs_root_ref and the name behind it apart.
func (i Item) nested() (Nested, error) {
	const header = 18
	b := i.Data
	if len(b) < header {
		return Nested{}, corrupt(i.Key, "short reference")
	}
	size := int(le.Uint16(b[16:]))
	if !isName(b[header:], size) {
		return Nested{}, corrupt(i.Key, "bad name")
	}
	return Nested{ID: i.Key.Offset, Dir: le.Uint64(b), Name: string(b[header : header+size])}, nil
}

// maxClimb is how deep a directory may be; a corrupt tree could go in circles.
const maxClimb = 1 << 16

// OpenDir opens a directory by its inode number, from the root of its subvolume
// on, name by name. Nobody may be moving directories meanwhile: it would then
// be another one, or an error.
func OpenDir(vol *os.File, ino uint64) (*os.File, error) {
	names, err := PathOf(vol, ino)
	if err != nil {
		return nil, err
	}
	fd, err := sys.OpenDirat(int(vol.Fd()), ".")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		next, err := sys.OpenDirat(fd, name)
		if err := errors.Join(err, unix.Close(fd)); err != nil {
			return nil, err
		}
		fd = next
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("%s, inode %d", vol.Name(), ino)), nil
}

// PathOf returns the names that lead to a directory from the root of the
// subvolume that vol is in.
func PathOf(vol *os.File, ino uint64) (names []string, err error) {
	for ino != FirstInode {
		q := OfInode(ino, InodeRef, InodeRef)
		q.Few = true
		up := uint64(0)
		err := Each(vol, q, func(i Item) error {
			return i.Refs(func(dir uint64, name []byte) error {
				up = dir
				names = append(names, string(name))
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
		if up == 0 || len(names) > maxClimb {
			return nil, fmt.Errorf("%w: directory %d of %s is in none", ErrCorrupt, ino, vol.Name())
		}
		ino = up
	}
	slices.Reverse(names)
	return names, nil
}

// DestroyAll removes a subvolume from an open directory, and before it those
// that are in it. Read-only ones that hold others are made writable, and full
// ones lose their limit. It returns the IDs of what was removed, also with an
// error.
func DestroyAll(dir *os.File, name string) ([]uint64, error) {
	vol, err := openVol(dir, name)
	if err != nil {
		return nil, err
	}
	defer vol.Close()
	info, err := InfoOf(vol)
	if err != nil {
		return nil, err
	}
	ids, err := destroyNested(vol)
	if err != nil {
		return ids, err
	}
	if err := Destroy(dir, name); err != nil {
		return ids, err
	}
	return append(ids, info.ID), nil
}

// openVol opens a subvolume by its name in a directory; ENOTDIR for what is
// none.
func openVol(dir *os.File, name string) (*os.File, error) {
	if err := checkName("open", name); err != nil {
		return nil, err
	}
	fd, err := sys.OpenDirat(int(dir.Fd()), name)
	if err != nil {
		return nil, err
	}
	vol := os.NewFile(uintptr(fd), dir.Name()+"/"+name)
	is, err := IsSubvolume(vol)
	if err == nil && !is {
		err = &os.PathError{Op: "open subvolume", Path: vol.Name(), Err: unix.ENOTDIR}
	}
	if err != nil {
		return nil, errors.Join(err, vol.Close())
	}
	return vol, nil
}

// An inner is a subvolume somewhere in another.
type inner struct {
	Nested
	in int // what holds it directly, in the list; -1 for the outermost
}

// destroyNested removes what is in a subvolume, the innermost first. It keeps
// no more than two directories open however deep they are in each other:
// whoever may make a subvolume may make many.
func destroyNested(vol *os.File) (ids []uint64, err error) {
	info, err := InfoOf(vol)
	if err != nil {
		return nil, err
	}
	list, err := allNested(vol, info.ID)
	if err != nil {
		return nil, err
	}
	for i, n := range slices.Backward(list) {
		if err := destroyInner(vol, list, i); err != nil {
			return ids, err
		}
		ids = append(ids, n.ID)
	}
	return ids, nil
}

// allNested lists what is in a subvolume, directly or not, each after what
// holds it.
func allNested(f *os.File, id uint64) (list []inner, err error) {
	for at := -1; at < len(list); at++ {
		if at >= 0 {
			id = list[at].ID
		}
		nested, err := nestedIn(f, id)
		if err != nil {
			return nil, err
		}
		for _, n := range nested {
			list = append(list, inner{n, at})
		}
	}
	return list, nil
}

func destroyInner(vol *os.File, list []inner, i int) error {
	holder, err := openInner(vol, list, list[i].in)
	if err != nil {
		return err
	}
	defer holder.Close()
	if err := SetReadOnly(holder, false); err != nil {
		return err
	}
	dir, err := OpenDir(holder, list[i].Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	err = Destroy(dir, list[i].Name)
	if !errors.Is(err, unix.EDQUOT) {
		return err
	}
	if err := unlimit(holder); err != nil { // which goes next
		return err
	}
	return Destroy(dir, list[i].Name)
}

// openInner opens a subvolume of the list, going there from vol.
func openInner(vol *os.File, list []inner, i int) (*os.File, error) {
	var way []int
	for ; i >= 0; i = list[i].in {
		way = append(way, i)
	}
	at, err := OpenDir(vol, FirstInode)
	if err != nil {
		return nil, err
	}
	for _, i := range slices.Backward(way) {
		next, err := openNested(at, list[i].Nested)
		if err := errors.Join(err, at.Close()); err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func openNested(vol *os.File, n Nested) (*os.File, error) {
	dir, err := OpenDir(vol, n.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return openVol(dir, n.Name)
}
