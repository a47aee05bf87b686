package diff

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartsOfAFileAreTwoWhereTheyAreDifferentFiles(t *testing.T) {
	var f oldFile
	require.False(t, f.several())
	f.add("a", inode{1, 1})
	require.False(t, f.several())
	f.add("b", inode{1, 1})
	require.False(t, f.several())
	f.add("c", inode{1, 2})
	require.True(t, f.several())
}
