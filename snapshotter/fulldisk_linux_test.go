package snapshotter

import (
	"errors"
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
)

func TestAFullDiskFailsTheCallAndTheStoreGoesOn(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			requireMount(t)
			dir, size := sizedTmpfs(t, "4m"), 8<<20
			if alltest.Works(t, dir, name) != nil {
				dir, size = fstest.ScratchSize(t, fstest.Btrfs, 128), 256<<20
			}
			s := openAt(t, dir+"/store", Options{Driver: name})
			commit(t, s, "base", "", layerTar("base"))
			require.NoError(t, s.Make(t.Context(), "key", "base"))
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

// fill makes a file of all the space there is.
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

func TestARootThatCannotBeWrittenIsRefusedByName(t *testing.T) {
	requireMount(t)
	for name, prepare := range map[string]func(t *testing.T, root string){
		"no store yet": func(t *testing.T, root string) { require.NoError(t, os.Mkdir(root, 0o700)) },
		"a store": func(t *testing.T, root string) {
			s, err := Open(t.Context(), root, Options{open: newFakeDisk().open})
			require.NoError(t, err)
			require.NoError(t, s.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tmpfs(t)
			root := filepath.Join(dir, "store")
			prepare(t, root)
			require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))

			_, err := Open(t.Context(), root, Options{open: newFakeDisk().open})
			var failure *fs.PathError
			require.ErrorAs(t, err, &failure)
			require.ErrorIs(t, err, unix.EROFS)
			require.ErrorContains(t, err, root)
		})
	}
}

// emptyLayer is what a snapshot without changes gives.
func emptyLayer(t *testing.T, s *Snapshotter) string {
	t.Helper()
	require.NoError(t, s.Make(t.Context(), "empty", "base"))
	empty := diffOf(t, s, "empty")
	require.NoError(t, s.Remove(t.Context(), "empty"))
	return empty
}
