package aufs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// limitDescriptors limits the process to n descriptors until the test ends.
func limitDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var old unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	low := old
	low.Cur = n
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })
}

// deep makes branches that all have the same chain of directories, and each a
// file of its own at the bottom.
func deep(t *testing.T, layers, depth int) (b *branches, way string) {
	b = newBranches(t)
	way = strings.TrimSuffix(strings.Repeat("d/", depth), "/")
	for i := range layers {
		root := b.add()
		require.NoError(t, os.MkdirAll(filepath.Join(root, way), 0o755))
		makeFile(t, root, fmt.Sprintf("%s/f%d=%d", way, i, i))
		if i > 0 {
			makeFile(t, root, fmt.Sprintf("%s/.wh.f%d", way, i-1))
		}
	}
	return b, way
}

func TestManyBranchesAndDeepTreesNeedFewDescriptors(t *testing.T) {
	const layers, depth = 126, 25
	b, way := deep(t, layers, depth)
	limitDescriptors(t, 384)
	v := b.view()
	last := changes(t, v.below(), v) // after the directories, each of which has its own time
	require.Equal(t, []string{"D " + way + "/f124 -> ", "A " + way + "/f125 -> "}, last[len(last)-2:])
	dirs := []diff.Dir{}
	d, err := v.Root()
	for range depth { // all directories are open at the same time
		require.NoError(t, err)
		dirs = append(dirs, d)
		d, err = d.OpenDir("d")
	}
	require.NoError(t, err)
	names, err := d.Names()
	require.NoError(t, err)
	require.Equal(t, []string{"f125"}, names)
	require.NoError(t, d.Close())
	for _, d := range dirs {
		n, err := d.Lookup("d")
		require.NoError(t, err)
		require.True(t, n.IsDir())
		require.NoError(t, d.Close())
	}
	i, err := v.provider(way + "/f125")
	require.NoError(t, err)
	require.Equal(t, 0, i)
}

// TestDirectoriesOnADeepWayShareTheirPaths: the walk of a diff has all
// directories of the chain open. The total length of their paths grows with the
// square of the depth.
func TestDirectoriesOnADeepWayShareTheirPaths(t *testing.T) {
	const depth = 800
	name := strings.Repeat("d", 240) // 77 MB for each side, if each directory stored its path
	b := newBranches(t)
	for range 2 {
		at, err := unix.Open(b.add(), unix.O_PATH|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		for range depth {
			require.NoError(t, unix.Mkdirat(at, name, 0o755))
			next, err := unix.Openat(at, name, unix.O_PATH|unix.O_CLOEXEC, 0)
			require.NoError(t, errors.Join(err, unix.Close(at)))
			at = next
		}
		require.NoError(t, unix.Close(at))
	}
	v := b.view()
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	d, err := v.Root()
	require.NoError(t, err)
	dirs := []diff.Dir{d}
	for range depth {
		d, err = d.OpenDir(name)
		require.NoError(t, err)
		dirs = append(dirs, d)
	}
	require.Less(t, heap()-before, int64(20<<20))
	for _, d := range slices.Backward(dirs) {
		require.NoError(t, d.Close())
	}
}

// TestATranslationOfADeepTreeNeedsFewDescriptors: any process in a container
// can make such a deep tree.
func TestATranslationOfADeepTreeNeedsFewDescriptors(t *testing.T) {
	eachWay(t, func(t *testing.T, f driver.Fallbacks) {
		const depth = 600
		b, way := deep(t, 2, depth)
		file := filepath.Join(b.paths[0], way, "f1")
		for i := range manyNames { // so that it is copied, and its other names are links to the copy
			require.NoError(t, os.Link(file, fmt.Sprintf("%s-%d", file, i)))
		}
		tr := b.translator(driver.Options{Fallbacks: f})
		limitDescriptors(t, 256)
		mounted(t, tr, b.layersOf(), func(root string) {
			entries, err := os.ReadDir(filepath.Join(root, way))
			require.NoError(t, err)
			require.Len(t, entries, 1+manyNames, "f1 and its names, and not f0, which is removed")
			first, err := os.Stat(filepath.Join(root, way, "f1"))
			require.NoError(t, err)
			last, err := os.Stat(filepath.Join(root, way, fmt.Sprintf("f1-%d", manyNames-1)))
			require.NoError(t, err)
			require.True(t, os.SameFile(first, last))
		})
	})
}

func TestDescriptorsAreGivenBack(t *testing.T) {
	b, way := deep(t, 3, 4)
	v := b.view()
	before, budget := fstest.OpenDescriptors(t), v.held.left.Load()
	for range 3 {
		changes(t, v.below(), v)
		changes(t, nil, v)
		_, err := v.provider(way + "/f2")
		require.NoError(t, err)
		root, err := v.Root()
		require.NoError(t, err)
		_, err = root.OpenDir("none")
		require.Error(t, err)
		require.NoError(t, root.Close())
		require.NoError(t, root.Close(), "twice")
		_, err = root.Names()
		require.ErrorIs(t, err, os.ErrClosed)
	}
	require.Equal(t, before, fstest.OpenDescriptors(t))
	require.Equal(t, budget, v.held.left.Load())
}
