package tar

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// If any system call on a file fails during Unpack, Unpack returns the error or
// succeeds nevertheless.
func TestNoErrorOfASystemCallVanishesInUnpacking(t *testing.T) {
	requireRoot(t)
	calls := fstest.NewCalls(t)
	base, top := rollbackLayers()
	layer := fstest.Layer(t, append(top, fstest.Link("h", "a/s/z"), fstest.Link("link", "k"),
		fstest.Fifo("p").WithMode(0o4640).WithOwner(3, 4).WithXattr("trusted.k", "v"), fstest.Symlink("owned", "x").WithOwner(3, 4),
		fstest.File("full", "body").WithMode(0o2750).WithOwner(3, 4).WithXattr("trusted.k", "v"))...)
	dir := fstest.Quick(t)
	b := newPlainBed(t, dir)
	_, err := b.apply(t, fstest.Layer(t, append(base, fstest.File("k", "k"))...), UnpackOptions{})
	require.NoError(t, err)
	unpack := func(n int) (tree fstest.Tree, failed string, made int, err error) {
		to, parents := staging(t, dir), open(t, b.root)
		made, failed = calls.Fail(t, n, unix.EIO, func() {
			_, _, err = Unpack(t.Context(), to, bytes.NewReader(layer), UnpackOptions{Parents: diff.DirView(parents), Writers: 1})
		})
		if err == nil {
			tree = fstest.FromPath(t, to.Name())
		}
		return tree, failed, made, err
	}
	want, _, made, err := unpack(0)
	require.NoError(t, err)
	require.Greater(t, made, 20)
	for n := 1; n <= made; n++ {
		tree, failed, _, err := unpack(n)
		if err != nil {
			require.ErrorIs(t, err, unix.EIO, "call %d, %s", n, failed)
			continue
		}
		fstest.RequireEqual(t, want, tree, fmt.Sprintf("call %d, %s", n, failed))
	}
}

// If any system call fails during Merge, Merge returns the error and the tree
// is unchanged, or Merge succeeds nevertheless.
func TestNoErrorOfASystemCallVanishesInMerging(t *testing.T) {
	requireRoot(t)
	_, top := rollbackLayers()
	t.Run("of everything", func(t *testing.T) { failWhileMerging(t, top) })
	t.Run("of a single whiteout", func(t *testing.T) { failWhileMerging(t, []fstest.Entry{fstest.Whiteout("f")}) })
}

func failWhileMerging(t *testing.T, top []fstest.Entry) {
	calls := fstest.NewCalls(t)
	base, _ := rollbackLayers()
	layer := fstest.Layer(t, top...)
	var b *plainBed
	var before fstest.Tree
	fresh := func() {
		b = newPlainBed(t, t.TempDir())
		_, err := b.apply(t, fstest.Layer(t, base...), UnpackOptions{})
		require.NoError(t, err)
		before = b.tree(t)
	}
	merge := func(n int) (failed string, made int, err error) {
		root := open(t, b.root)
		d, _, err := Unpack(t.Context(), staging(t, b.base), bytes.NewReader(layer), UnpackOptions{Parents: diff.DirView(root)})
		require.NoError(t, err)
		made, failed = calls.Fail(t, n, unix.EIO, func() { err = d.Merge(t.Context(), Target{Root: root}) })
		return failed, made, err
	}
	fresh()
	_, made, err := merge(0)
	require.NoError(t, err)
	require.Greater(t, made, 3)
	want := b.tree(t)
	fresh()
	for n := 1; n <= made; n++ {
		failed, _, err := merge(n)
		if err != nil {
			require.ErrorIs(t, err, unix.EIO, "call %d, %s", n, failed)
			fstest.RequireEqual(t, before, b.tree(t), fmt.Sprintf("call %d, %s: %v", n, failed, err))
			continue
		}
		fstest.RequireEqual(t, want, b.tree(t), fmt.Sprintf("call %d, %s", n, failed))
		fresh()
	}
}
