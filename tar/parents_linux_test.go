package tar

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
)

func TestADirectoryThatTheParentsLackIsNotTakenForTheLastOne(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o700))
	tree := &parentTree{view: diff.DirView(open(t, dir))}
	defer tree.close()
	root := newDirNode(nil, "")
	a, lacking := newDirNode(root, "a"), newDirNode(root, "lacking")
	b, below := newDirNode(a, "b"), newDirNode(lacking, "b")
	for range 2 {
		for _, n := range []*node{root, a, b} {
			d, err := tree.dirOf(n)
			require.NoError(t, err)
			require.NotNil(t, d, n.path())
			require.Same(t, n, tree.node, "the next step down begins there")
			again, err := tree.dirOf(n)
			require.NoError(t, err)
			require.Equal(t, d, again)
		}
		for _, n := range []*node{lacking, lacking, below} {
			d, err := tree.dirOf(n)
			require.NoError(t, err)
			require.Nil(t, d, n.path())
		}
	}
}
