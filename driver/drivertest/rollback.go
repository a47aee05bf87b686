package drivertest

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testRollback checks that what failed leaves the layer as it was, whatever the
// failed layer had done by then.
func (s *suite) testRollback(t *testing.T) {
	t.Run("an error at the end undoes every kind of change", s.undo)
	t.Run("an error in a filled layer leaves what it held", s.undoFilled)
	if !s.whole || !s.can.mounts {
		return
	}
	t.Run("a full "+string(s.filesystems(t)[0]), func(t *testing.T) { s.fullDisk(t, s.filesystems(t)[0]) })
	if slices.Contains(s.filesystems(t), Ext4) && s.can.owners {
		t.Run("a full ext4", func(t *testing.T) { s.fullDisk(t, Ext4) })
	}
}

// smallDisks are sizes in MiB of disks that are soon full, and yet have room
// for the file system's own structures.
var smallDisks = map[FS]int{Tmpfs: 16, Ext4: 16, XFS: 300, Btrfs: 128}

// everything is one of each: removed, replaced, merged, linked, made.
func everything() []Entry {
	return []Entry{
		Dir(".").WithMode(0o700).WithMtime(3, 3), Whiteout("gone"), Dir("d").WithMode(0o711), File("d/x", "new"), Opaque("o"),
		File("tree", "now a file"), Dir("file"), File("file/x", "x"), Link("linked", "d/y"), Symlink("e", "d"),
		File("implied/a/b", "b"),
	}
}

func everythingBase() []Entry {
	return []Entry{
		Dir(".").WithMtime(1, 1), File("gone", "gone"), Dir("d").WithMtime(2, 2), File("d/x", "x"), File("d/y", "y"), Link("d/z", "d/y"),
		Dir("o"), File("o/1", "1"), Dir("o/2"), File("o/2/3", "3"), Dir("tree"), File("tree/a", "a"), File("file", "f"),
		Dir("e"), File("e/f", "f"), Symlink("s", "d"),
	}
}

func (s *suite) undo(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, everythingBase()...)
	st.create("a", chain...)
	require.NoError(t, st.d.Cleanup(t.Context()))
	want := st.tree("a")
	st.requireTree(want, "a", "before") // a first mount may leave its own directories
	files := st.countFiles()
	for _, bad := range []Entry{Link("h", "no/such/file"), File("gone2/.wh..", ""), File("file/x/y", "below a file")} {
		err := st.apply("a", append(everything(), File("s/through", "t"), bad)...)
		require.ErrorIs(t, err, driver.ErrInvalidLayer)
		st.requireTree(want, "a", "after "+bad.Name)
		requireStream(t, nil, st.diff("a"))
	}
	require.NoError(t, st.d.Cleanup(t.Context()))
	require.Equal(t, files, st.countFiles(), "files left behind in the store")
	st.mustApply("a", everything()...)
	require.Equal(t, st.tree("base"), st.treeOf("base2", everythingBase()...), "the parent is as it was")
}

// treeOf is the tree of a new layer of entries.
func (st *store) treeOf(id driver.ID, entries ...Entry) Tree {
	st.t.Helper()
	st.layer(id, nil, entries...)
	return st.tree(id)
}

func (s *suite) undoFilled(t *testing.T) {
	st := s.open(t)
	chain := st.layer("lower", nil, Dir("d"), File("d/low", "low"), File("low", "low"))
	st.create("a", chain...)
	st.mustApply("a", everythingBase()...)
	want, diff := st.tree("a"), st.diff("a")
	err := st.apply("a", append(everything(), Whiteout("low"), Whiteout("d/low"), Link("h", "none"))...)
	require.ErrorIs(t, err, driver.ErrInvalidLayer)
	st.requireTree(want, "a", "after the refused layer")
	require.Equal(t, diff, st.diff("a"))
}

// fullDisk fills a small file system in the middle of a layer.
func (s *suite) fullDisk(t *testing.T, fs FS) {
	size := smallDisks[fs]
	small := *s
	small.Dir = ScratchSize(t, fs, size)
	st := small.open(t)
	chain := st.layer("base", nil, append(everythingBase(), File("ballast", strings.Repeat("b", 3<<20)))...)
	st.create("a", chain...)
	require.NoError(t, st.d.Cleanup(t.Context()))
	want := st.tree("a")
	st.requireTree(want, "a", "before") // a first mount may leave its own directories
	files := st.countFiles()
	layer := everything()
	for i := range 2 * size {
		layer = append(layer, File(fmt.Sprintf("big/%d", i), strings.Repeat(fmt.Sprint(i%10), 1<<20)))
	}
	err := st.apply("a", layer...)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NotErrorIs(t, err, driver.ErrInvalidLayer)
	// Not always one of the big ones: files are written side by side, and an
	// earlier one may come to its write when they have taken all there was.
	require.ErrorContains(t, err, "layer entry ", "the error names the entry")
	st.requireTree(want, "a", "after the disk was full")
	require.NoError(t, st.d.Cleanup(t.Context()))
	require.Equal(t, files, st.countFiles(), "files left behind in the store")
	st.mustApply("a", everything()...)
	st.requireTree(want, "base", "the parent")
	st.fillUp(chain)
}

// fillUp creates layers until the disk is full, which may be never where layers
// take nothing.
func (st *store) fillUp(chain []driver.ID) {
	st.t.Helper()
	for i := range 8 {
		err := st.d.Create(st.ctx(), layerID(i), chain, driver.CreateOptions{})
		if err == nil {
			continue
		}
		require.ErrorIs(st.t, err, syscall.ENOSPC)
		layers, err := st.d.Layers(st.ctx())
		require.NoError(st.t, err)
		require.NotContains(st.t, layers, layerID(i), "nothing is left of a layer that could not be created")
		return
	}
}
