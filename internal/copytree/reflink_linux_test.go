package copytree_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/copytree"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A full disk must not count as one that cannot share blocks, because the
// result is remembered.
func TestWhetherBlocksCanBeSharedIsNotKnownOfAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: scratch file systems need it")
	}
	dir := fstest.ScratchSize(t, fstest.Tmpfs, 1)
	can, err := copytree.CanReflink(dir)
	require.NoError(t, err)
	require.False(t, can, "a tmpfs")

	f, err := os.Create(dir + "/full")
	require.NoError(t, err)
	_, err = f.Write(make([]byte, 2<<20))
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, f.Close())
	_, err = copytree.CanReflink(dir)
	require.ErrorIs(t, err, unix.ENOSPC)

	can, err = copytree.CanReflink(fstest.Scratch(t, fstest.Btrfs))
	require.NoError(t, err)
	require.True(t, can, "a btrfs")
}
