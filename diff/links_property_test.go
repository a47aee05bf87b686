//go:build linux

package diff_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// linkPaths has the names of few files, so that most files have several names.
var linkPaths = []string{"a", "b", "c", "d/a", "d/b", "d/e/a", "f/a", "f/b", "g"}

// maxLinked is the largest number of files in a tree of linkPaths.
const maxLinked = 4

// linkedTree says which of a few files each name is, and which content a file
// has. 0 means that the name does not exist.
type linkedTree struct {
	file   map[string]int
	bodies [maxLinked + 1]string
}

func drawLinkedTree(t *rapid.T) linkedTree {
	tree := linkedTree{file: map[string]int{}}
	for _, p := range linkPaths {
		tree.file[p] = rapid.IntRange(0, maxLinked).Draw(t, p)
	}
	for i := range tree.bodies {
		tree.bodies[i] = rapid.SampledFrom([]string{"x", "x", "y"}).Draw(t, "body")
	}
	return tree
}

// edit moves a few names to another file, and gives a few files another
// content.
func (tree linkedTree) edit(t *rapid.T) linkedTree {
	edited := linkedTree{file: map[string]int{}, bodies: tree.bodies}
	for p, file := range tree.file {
		edited.file[p] = file
	}
	for range rapid.IntRange(0, 4).Draw(t, "names") {
		p := rapid.SampledFrom(linkPaths).Draw(t, "path")
		edited.file[p] = rapid.IntRange(0, maxLinked).Draw(t, "file")
	}
	for range rapid.IntRange(0, 1).Draw(t, "contents") {
		edited.bodies[rapid.IntRange(1, maxLinked).Draw(t, "file")] = "z"
	}
	return edited
}

// make makes the tree. A directory exists only if it is not empty.
func (tree linkedTree) make(t *rapid.T, root string) {
	first := map[int]string{}
	var dirs []string
	require.NoError(t, os.Mkdir(root, 0o755))
	for _, p := range linkPaths {
		file, full := tree.file[p], filepath.Join(root, p)
		if file == 0 {
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		for dir := filepath.Dir(full); len(dir) >= len(root); dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
		if target, ok := first[file]; ok {
			require.NoError(t, os.Link(target, full))
			continue
		}
		first[file] = full
		require.NoError(t, os.WriteFile(full, []byte(tree.bodies[file]), 0o644))
		require.NoError(t, os.Chtimes(full, fstest.EditTime, fstest.EditTime))
	}
	for _, dir := range append(dirs, root) {
		require.NoError(t, os.Chtimes(dir, time.Time{}, fstest.EditTime))
	}
}

// The rule for hard links, on trees that have little else. It compares three
// results: the definition taken word for word, a comparison that reads both
// trees completely, and one that reads as little as hints allow.
func TestHintsAndFullWalksAgreeWithTheOracleOnHardLinks(t *testing.T) {
	dir, run := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		before := drawLinkedTree(t)
		after := before.edit(t)
		oldRoot, newRoot := filepath.Join(dir, fmt.Sprint(run, "old")), filepath.Join(dir, fmt.Sprint(run, "new"))
		defer os.RemoveAll(oldRoot)
		defer os.RemoveAll(newRoot)
		before.make(t, oldRoot)
		after.make(t, newRoot)
		oldTree, err := fstest.ReadPath(oldRoot)
		require.NoError(t, err)
		newTree, err := fstest.ReadPath(newRoot)
		require.NoError(t, err)
		want := difftest.Lines(difftest.Changes(oldTree, newTree))

		old, err := os.Open(oldRoot)
		require.NoError(t, err)
		defer old.Close()
		new, err := os.Open(newRoot)
		require.NoError(t, err)
		defer new.Close()
		got, err := difftest.Collect(diff.Compare(t.Context(), diff.DirView(old), diff.DirView(new), diff.Options{}))
		require.NoError(t, err)
		require.Equal(t, want, difftest.Lines(got))

		for _, reverse := range []bool{false, true} {
			hinted := hintView{diff.DirView(new), hints(oldTree, newTree, rapid.Bool().Draw(t, "descend hints"), reverse)}
			got, err = difftest.Collect(diff.Compare(t.Context(), diff.DirView(old), hinted, diff.Options{}))
			require.NoError(t, err)
			require.Equal(t, want, difftest.Lines(got), "with hints %v", hinted.hints)

			// Views that know the names of all, of some or of no files.
			known := rapid.SampledFrom([]uint64{1, 2, 1 << 40}).Draw(t, "files with known names")
			unknown := func(n diff.Node) bool { return n.Ino%known != 0 }
			oldLinks, newLinks := linker(t, diff.DirView(old), unknown), linker(t, diff.DirView(new), unknown)
			got, err = difftest.Collect(diff.Compare(t.Context(), oldLinks, hintedLinks{hinted, newLinks}, diff.Options{}))
			require.NoError(t, err)
			require.Equal(t, want, difftest.Lines(got), "with known links and hints %v", hinted.hints)
		}
	})
}
