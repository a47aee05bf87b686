//go:build linux

package diff_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

const (
	benchDirs  = 100
	benchFiles = 100 // in each
)

// benchTree makes 10,000 files of 4 KiB.
func benchTree(b *testing.B) string {
	b.Helper()
	root := tree(b)
	body := make([]byte, 4096)
	for d := range benchDirs {
		dir := fmt.Sprintf("d%02d", d)
		require.NoError(b, Mkdir(dir).Apply(root))
		for f := range benchFiles {
			name := filepath.Join(dir, fmt.Sprintf("f%02d", f))
			require.NoError(b, os.WriteFile(filepath.Join(root, name), body, 0o644))
			require.NoError(b, Touch(name, EditTime).Apply(root))
		}
		require.NoError(b, Touch(dir, EditTime).Apply(root))
	}
	require.NoError(b, Touch(".", EditTime).Apply(root))
	return root
}

func benchCompare(b *testing.B, old, new diff.View, want int) {
	b.ReportAllocs()
	for b.Loop() {
		changes, err := difftest.Collect(diff.Compare(b.Context(), old, new, diff.Options{}))
		require.NoError(b, err)
		require.Len(b, changes, want)
	}
}

func BenchmarkCompare(b *testing.B) {
	old, new := benchTree(b), benchTree(b)
	for i := range 10 {
		name := fmt.Sprintf("d%02d/f05", i)
		require.NoError(b, Append(name, "x").Apply(new))
	}
	hints := map[string][]diff.Hint{}
	for i := range 10 {
		dir := fmt.Sprintf("d%02d", i)
		hints["."] = append(hints["."], diff.Hint{Name: dir, Descend: true})
		hints[dir] = []diff.Hint{{Name: "f05"}}
	}
	b.Run("10 of 10000 changed, by content", func(b *testing.B) { benchCompare(b, view(b, old), view(b, new), 10) })
	b.Run("10 of 10000 changed, hinted", func(b *testing.B) { benchCompare(b, view(b, old), hintView{view(b, new), hints}, 10) })
	b.Run("10000 new", func(b *testing.B) { benchCompare(b, nil, view(b, new), 10_101) })
}

// With hints, the time must not depend on the size of the old tree, although
// every file in it has two names and the changes separate them.
func BenchmarkCompareHinted(b *testing.B) {
	for _, dirs := range []int{10, 1000} {
		old, new := tree(b), tree(b)
		hints := map[string][]diff.Hint{}
		for d := range dirs {
			dir := fmt.Sprintf("d%03d", d)
			edit(b, old, Mkdir(dir))
			for f := 0; f < benchFiles; f += 2 {
				first := filepath.Join(old, dir, fmt.Sprintf("f%02d", f))
				require.NoError(b, os.WriteFile(first, []byte("x"), 0o644))
				require.NoError(b, os.Link(first, filepath.Join(old, dir, fmt.Sprintf("f%02d", f+1))))
			}
			if d < 10 {
				edit(b, new, Mkdir(dir), Create(dir+"/f05", "y"))
				hints["."] = append(hints["."], diff.Hint{Name: dir, Descend: true})
				hints[dir] = []diff.Hint{{Name: "f05"}}
			}
		}
		b.Run(fmt.Sprintf("10 changes over %d names", dirs*benchFiles), func(b *testing.B) {
			benchCompare(b, view(b, old), hintView{view(b, new), hints}, 10)
		})
	}
}
