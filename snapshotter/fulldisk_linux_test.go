package snapshotter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func TestAFullDiskFailsTheCallAndTheStoreGoesOn(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			requireMount(t)
			dir, size := sizedTmpfs(t, "4m"), 8<<20
			if alltest.Works(t, dir, name) != nil {
				dir, size = fstest.ScratchSize(t, fstest.Btrfs, 128), 256<<20
			}
			s := openAt(t, dir+"/store", Options{Driver: name})
			commit(t, s, "base", "", layerTar("base"))
			require.NoError(t, s.Create(t.Context(), "key", "base"))
			_, err := s.Apply(t.Context(), "key", strings.NewReader(fileTar("big", strings.Repeat("x", size))), driver.ApplyOptions{})
			require.ErrorIs(t, err, unix.ENOSPC)
			require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
			require.Equal(t, emptyLayer(t, s), diffOf(t, s, "key"), "the layer was rolled back")

			requireSound(t, s)
			_, err = s.Apply(t.Context(), "key", strings.NewReader(layerTar("small")), driver.ApplyOptions{})
			require.NoError(t, err)
			require.NoError(t, s.Commit(t.Context(), "name", "key"))
			require.NoError(t, errors.Join(s.Remove(t.Context(), "name"), s.Remove(t.Context(), "base")))
			requireSound(t, s)
		})
	}
}

func TestAStoreOnAFullDiskOpensSoThatItCanBeEmptied(t *testing.T) {
	requireMount(t)
	dir := sizedTmpfs(t, "4m")
	s := openAt(t, dir+"/store", Options{Driver: "vfs"})
	commit(t, s, "base", "", layerTar("base"))
	require.NoError(t, s.Close())
	fill(t, dir+"/full")

	s = openAt(t, dir+"/store", Options{})
	require.NoError(t, s.Remove(t.Context(), "base"))
	require.NoError(t, os.Remove(dir+"/full"))
	requireSound(t, s)
}

// Reads and removals need no space: no blocks, and no inodes, of which only
// ext4 has a fixed number.
func TestAStoreOnAFullDiskIsReadAndEmptied(t *testing.T) {
	for _, disk := range []struct {
		what string
		kind fstest.FS
		mib  int
		fill func(t *testing.T, dir string)
	}{
		{"ext4/blocks", fstest.Ext4, 32, fillBlocks},
		{"ext4/inodes", fstest.Ext4, 32, fillInodes},
		{"xfs/blocks", fstest.XFS, 320, fillBlocks},
		{"btrfs/blocks", fstest.Btrfs, 128, fillBlocks},
	} {
		for _, name := range all.Names() {
			t.Run(disk.what+"/"+name, func(t *testing.T) {
				alltest.SkipInShort(t, name)
				dir := fstest.ScratchSize(t, disk.kind, disk.mib)
				if err := alltest.Works(t, dir, name); err != nil {
					t.Skip(err)
				}
				readAndEmpty(t, dir, name, disk.fill, true)
				// As with a store of the version before, or on another kernel.
				readAndEmpty(t, dir, name, disk.fill, false)
			})
		}
	}
}

// readAndEmpty makes a store, fills the disk and empties the store. With known
// the header has what the driver found out while there was space.
func readAndEmpty(t *testing.T, dir, name string, fillUp func(*testing.T, string), known bool) {
	t.Helper()
	root, full := fmt.Sprintf("%s/store-%v", dir, known), filepath.Join(dir, "full")
	s := openAt(t, root, Options{Driver: name})
	commit(t, s, "base", "", layerTar("base"))
	active(t, s, "key", "base", layerTar("key"))
	want := map[string]string{"base": diffOf(t, s, "base"), "key": diffOf(t, s, "key")}
	require.NoError(t, s.Close())
	head, err := readHeader(root)
	require.NoError(t, err)
	require.NotEmpty(t, head.Found)
	if !known {
		head.Found, head.Kernel = nil, ""
		require.NoError(t, writeHeader(root, head))
	}
	require.NoError(t, os.Mkdir(full, 0o700))
	fillUp(t, full)

	s = openAt(t, root, Options{})
	require.Equal(t, []string{"base", "key"}, namesOf(t, s))
	for key, layer := range want {
		require.Equal(t, layer, diffOf(t, s, key))
		_, err := s.Usage(t.Context(), key)
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())

	s = openAt(t, root, Options{})
	require.NoError(t, s.Remove(t.Context(), "key"))
	require.NoError(t, s.Remove(t.Context(), "base"))
	require.NoError(t, s.Cleanup(t.Context()))
	requireSound(t, s)
	require.NoError(t, os.RemoveAll(full))
	require.NoError(t, s.Cleanup(t.Context()))
	for _, path := range meta.ReservePaths(filepath.Join(root, metaName)) {
		require.FileExists(t, path, "there is room for the next time")
	}
	commit(t, s, "base", "", layerTar("base"))
	requireSound(t, s)
	require.NoError(t, s.Close())
}

// Another process takes the space that each removal has freed.
func TestEachOfSomeRemovalsFindsRoomWhileADiskIsFilled(t *testing.T) {
	for name, disk := range map[string]struct {
		kind fstest.FS
		mib  int
	}{"overlay2": {fstest.Ext4, 64}, "vfs": {fstest.XFS, 300}, "btrfs": {fstest.Btrfs, 200}} {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := fstest.ScratchSize(t, disk.kind, disk.mib)
			if err := alltest.Works(t, dir, name); err != nil {
				t.Skip(err)
			}
			s := openAt(t, filepath.Join(dir, "store"), Options{Driver: name})
			for i := range 3 {
				active(t, s, fmt.Sprint("key", i), "", layerTar("x"))
				full := filepath.Join(dir, fmt.Sprint("full", i))
				require.NoError(t, os.Mkdir(full, 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(full, "big"), nil, 0o600)) // later there may be no space for it
			}
			for i := range 3 {
				fillBlocks(t, filepath.Join(dir, fmt.Sprint("full", i)))
				require.NoError(t, s.Remove(t.Context(), fmt.Sprint("key", i)))
			}
			requireSound(t, s)
			require.NoError(t, s.Close())
		})
	}
}

func fillBlocks(t *testing.T, dir string) {
	t.Helper()
	fill(t, filepath.Join(dir, "big"))
	// Small writes take the space that a large one leaves.
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("x"), 0o600); err != nil {
			require.ErrorIs(t, err, unix.ENOSPC)
			return
		}
	}
}

// fillInodes makes files until there is no inode left.
func fillInodes(t *testing.T, dir string) {
	t.Helper()
	for i := 0; ; i++ {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			require.ErrorIs(t, err, unix.ENOSPC)
			return
		}
		require.NoError(t, f.Close())
	}
}

// fill makes a file that takes all free space.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	for block := make([]byte, 64<<10); err == nil; {
		_, err = f.Write(block)
	}
	require.ErrorIs(t, err, unix.ENOSPC)
	require.NoError(t, f.Close())
}

func TestNoStoreIsMadeOnADiskThatCannotBeWrittenTo(t *testing.T) {
	requireMount(t)
	dir := tmpfs(t)
	root := filepath.Join(dir, "store")
	require.NoError(t, os.Mkdir(root, 0o755))
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))

	_, err := Open(t.Context(), root, Options{open: newFakeDisk().open})
	var failure *fs.PathError
	require.ErrorAs(t, err, &failure)
	require.ErrorIs(t, err, unix.EROFS)
	require.ErrorContains(t, err, root)
}

// emptyLayer returns the layer tar of a snapshot without changes.
func emptyLayer(t *testing.T, s *Snapshotter) string {
	t.Helper()
	require.NoError(t, s.Create(t.Context(), "empty", "base"))
	empty := diffOf(t, s, "empty")
	require.NoError(t, s.Remove(t.Context(), "empty"))
	return empty
}
