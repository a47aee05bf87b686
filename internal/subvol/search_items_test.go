package subvol

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// item builds an item out of numbers, written with as many bytes as their type
// has, and strings.
func item(k Key, parts ...any) Item {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case uint8:
			b = append(b, p)
		case uint16:
			b = le.AppendUint16(b, p)
		case uint32:
			b = le.AppendUint32(b, p)
		case uint64:
			b = le.AppendUint64(b, p)
		case string:
			b = append(b, p...)
		}
	}
	return Item{Key: k, Data: b}
}

func TestItemsAreTakenApart(t *testing.T) {
	node, err := item(Key{300, InodeItem, 0}, uint64(7), uint64(9), uint64(11), uint64(0), uint64(0), uint32(2), uint32(5), uint32(6), uint32(0o100644),
		string(make([]byte, inodeSize-56))).Inode()
	require.NoError(t, err)
	require.Equal(t, []uint64{7, 9, 11, 2, 0o100644}, []uint64{node.Generation, node.Transid, node.Size, uint64(node.Nlink), uint64(node.Mode)})
	require.Len(t, node.Rest[0], 96)
	require.Len(t, node.Rest[1], 36)

	type ref struct {
		dir  uint64
		name string
	}
	var refs []ref
	visit := func(dir uint64, name []byte) error {
		refs = append(refs, ref{dir, string(name)})
		return nil
	}
	require.NoError(t, item(Key{300, InodeRef, 257}, uint64(2), uint16(1), "a", uint64(3), uint16(2), "bc").Refs(visit))
	require.NoError(t, item(Key{300, InodeExtref, 99}, uint64(260), uint64(2), uint16(1), "d", uint64(261), uint64(3), uint16(1), "e").Refs(visit))
	require.Equal(t, []ref{{257, "a"}, {257, "bc"}, {260, "d"}, {261, "e"}}, refs)

	e, err := item(Key{257, DirIndex, 2}, uint64(300), uint8(InodeItem), uint64(0), uint64(9), uint16(0), uint16(3), uint8(1), "abc").Entry()
	require.NoError(t, err)
	require.Equal(t, Entry{Ino: 300, Name: []byte("abc")}, e)
	e, err = item(Key{257, DirIndex, 3}, uint64(270), uint8(RootItem), uint64(math.MaxUint64), uint64(9), uint16(0), uint16(1), uint8(2), "s").Entry()
	require.NoError(t, err)
	require.Equal(t, Entry{Ino: 270, Subvolume: true, Name: []byte("s")}, e)

	x, err := item(Key{300, ExtentData, 0}, uint64(8), uint64(5), uint8(0), uint8(0), uint16(0), uint8(0), "hello").Extent()
	require.NoError(t, err)
	require.Equal(t, []uint64{8, 0, 5}, []uint64{x.Generation, x.Disk, x.DiskBytes})
	require.Zero(t, x.Place[8], "how it is compressed")
	require.True(t, bytes.HasSuffix(x.Place, []byte("hello")))
	x, err = item(Key{300, ExtentData, 0}, uint64(8), uint64(8192), uint8(2), uint8(1), uint16(0), uint8(1), uint64(1<<20), uint64(4096), uint64(0), uint64(8192)).Extent()
	require.NoError(t, err)
	require.Equal(t, []uint64{8, 1 << 20, 4096}, []uint64{x.Generation, x.Disk, x.DiskBytes})
	require.True(t, x.Encoded)
}

func TestItemsThatAreNotAsTheFormatSaysAreRefused(t *testing.T) {
	key := Key{300, InodeRef, 257}
	for name, i := range map[string]Item{
		"an empty name":       item(key, uint64(2), uint16(0)),
		"a name cut off":      item(key, uint64(2), uint16(4), "abc"),
		"a name too long":     item(key, uint64(2), uint16(256), string(bytes.Repeat([]byte("x"), 256))),
		"a slash":             item(key, uint64(2), uint16(3), "a/b"),
		"a zero":              item(key, uint64(2), uint16(3), "a\x00b"),
		"rest after the last": item(key, uint64(2), uint16(1), "a", uint8(1)),
	} {
		require.ErrorIs(t, i.Refs(func(uint64, []byte) error { return nil }), ErrCorrupt, name)
	}
}

// Whatever a disk holds, nothing is read that is not there.
func FuzzItemsOfAnyContentAreTakenApart(f *testing.F) {
	f.Add(uint64(1), make([]byte, inodeSize))
	f.Add(uint64(257), []byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00a"))
	f.Add(uint64(2), make([]byte, 53))
	f.Fuzz(func(t *testing.T, offset uint64, data []byte) {
		for size := range len(data) + 1 {
			i := Item{Key: Key{300, InodeRef, offset}, Data: data[:size:size]}
			_, _ = i.Inode()
			_, _ = i.Extent()
			if e, err := i.Entry(); err == nil {
				require.NotEmpty(t, e.Name)
			}
			for _, typ := range []uint8{InodeRef, InodeExtref} {
				i.Key.Type = typ
				err := i.Refs(func(_ uint64, name []byte) error {
					require.NotEmpty(t, name)
					require.LessOrEqual(t, len(name), maxName)
					return nil
				})
				if err != nil {
					require.ErrorIs(t, err, ErrCorrupt)
				}
			}
		}
	})
}

func TestTheNextKeyCarries(t *testing.T) {
	const most = math.MaxUint64
	for _, c := range []struct {
		key, next Key
		ok        bool
	}{
		{Key{1, 2, 3}, Key{1, 2, 4}, true},
		{Key{1, 2, most}, Key{1, 3, 0}, true},
		{Key{1, math.MaxUint8, most}, Key{2, 0, 0}, true},
		{MaxKey(), Key{}, false},
	} {
		next, ok := c.key.next()
		require.Equal(t, c.ok, ok)
		require.Equal(t, c.next, next)
	}
}
