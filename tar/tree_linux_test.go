package tar

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The length of a path is known without building it.
func TestANodeKnowsItsDepthAndTheLengthOfItsPath(t *testing.T) {
	n := newDirNode(nil, "")
	for i, path := range []string{"ab", "ab/c", "ab/c/def"} {
		n = newDirNode(n, filepath.Base(path))
		require.EqualValues(t, len(path), n.length, path)
		require.EqualValues(t, i+1, n.depth, path)
	}
}
