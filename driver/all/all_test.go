package all

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/btrfs"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/overlay2"
	"github.com/layerkeep/layerkeep/vfs"
)

func TestTheOrderOfPreferenceIsFixed(t *testing.T) {
	require.Equal(t, []string{"overlay2", "btrfs", "vfs", "aufs"}, Names())
}

func TestAnUnknownNameIsRefusedWithTheKnownOnes(t *testing.T) {
	_, _, err := Select(t.Context(), t.TempDir(), "zfs", driver.Options{})
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorContains(t, err, "overlay2, btrfs, vfs, aufs")
}

func TestTheBestOneThatWorksIsSelected(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	root := t.TempDir()
	d, rejected, err := Select(t.Context(), root, "", driver.Options{})
	require.NoError(t, err)
	require.Empty(t, rejected)
	require.Equal(t, overlay2.Name, d.Name())
	require.NoError(t, d.Close())
	entries, err := os.ReadDir(filepath.Join(root, overlay2.Name))
	require.NoError(t, err)
	require.Empty(t, entries, "probing leaves nothing behind")
}

func TestOnAnOverlayTheCopyingBackendIsSelectedAndTheReasonTold(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	dir := t.TempDir()
	o := &mount.Overlay{Lower: []string{dir + "/l"}, Upper: dir + "/u", Work: dir + "/w"}
	for _, p := range []string{o.Lower[0], o.Upper, o.Work} {
		require.NoError(t, os.Mkdir(p, 0o755))
	}
	require.NoError(t, mount.WithTemp(t.Context(), []mount.Mount{{Type: "overlay", Source: "overlay", Overlay: o}}, func(root string) error {
		d, rejected, err := Select(t.Context(), root, "", driver.Options{})
		require.NoError(t, err)
		require.Equal(t, vfs.Name, d.Name())
		require.NoError(t, d.Close())
		require.Len(t, rejected, 2, "in the order of preference, up to the one that works")
		for i, name := range []string{overlay2.Name, btrfs.Name} {
			require.Equal(t, name, rejected[i].Name)
			require.ErrorIs(t, rejected[i].Err, driver.ErrUnsupported)
			require.ErrorContains(t, rejected, name+": ")
			require.Greater(t, len(rejected[i].Err.Error()), len(name+": "+driver.ErrUnsupported.Error()), "a reason")
			require.NoDirExists(t, filepath.Join(root, name))
		}
		require.ErrorContains(t, rejected[1].Err, "not on a btrfs")
		return nil
	}))
}

func TestOnlyTheFirstIsSelectedByItselfOfThoseThatWork(t *testing.T) {
	for _, fs := range []fstest.FS{fstest.Tmpfs, fstest.Btrfs} {
		t.Run(string(fs), func(t *testing.T) {
			root := fstest.Scratch(t, fs)
			d, rejected, err := Select(t.Context(), root, "", driver.Options{})
			require.NoError(t, err)
			require.Empty(t, rejected)
			require.Equal(t, overlay2.Name, d.Name())
			require.NoError(t, d.Close())
		})
	}
}

func TestEachIsSelectedByNameWhereItWorks(t *testing.T) {
	root := fstest.Scratch(t, fstest.Btrfs)
	for _, name := range Names() {
		d, rejected, err := Select(t.Context(), root, name, driver.Options{})
		require.NoError(t, err, name)
		require.Empty(t, rejected)
		require.Equal(t, name, d.Name())
		require.NoError(t, d.Close())
		require.DirExists(t, filepath.Join(root, name))
	}
}

func TestOneThatIsAskedForByNameIsNotReplacedByAnother(t *testing.T) {
	root := fstest.Scratch(t, fstest.Tmpfs)
	_, rejected, err := Select(t.Context(), root, btrfs.Name, driver.Options{})
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorContains(t, err, "not on a btrfs")
	require.Len(t, rejected, 1)
	require.Equal(t, btrfs.Name, rejected[0].Name)
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestACancelledSelectionChoosesNothing(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := t.TempDir()
	d, rejected, err := Select(ctx, root, "", driver.Options{})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, driver.ErrUnsupported)
	require.Nil(t, d, "a store would keep the second best for ever")
	require.Empty(t, rejected)
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestADirectoryThatCannotBeWrittenIsAnErrorAndNoRejection(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no backend on " + runtime.GOOS)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, err := Select(t.Context(), file, "", driver.Options{})
	require.Error(t, err)
	require.NotErrorIs(t, err, driver.ErrUnsupported)
}

func TestDirectoriesOfOtherEnginesAreNoLayersThatWereMade(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"overlay2/l", "overlay2/0f3c", "vfs/dir/0f3c", "btrfs/subvolumes", "aufs/layers", "aufs/.layerkeep/layers"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	name, err := DriverOf(root)
	require.NoError(t, err)
	require.Empty(t, name, "another engine's")
	for name, dir := range map[string]string{"vfs": "vfs/1", "aufs": "aufs/.layerkeep/layers/1"} {
		record := filepath.Join(root, dir, "layer.json")
		require.NoError(t, os.Mkdir(filepath.Dir(record), 0o700))
		require.NoError(t, os.WriteFile(record, nil, 0o600))
		made, err := DriverOf(root)
		require.NoError(t, err)
		require.Equal(t, name, made)
		require.NoError(t, os.RemoveAll(filepath.Dir(record)))
	}
}

// A layer that has lost its record is one nevertheless, of whatever driver and
// kind.
func TestLayersWithoutRecordsAreLayersThatWereMade(t *testing.T) {
	for _, b := range Backends() {
		root := filepath.Join(fstest.Scratch(t, fstest.Btrfs), b.Name)
		d, err := b.New(t.Context(), filepath.Join(root, b.Name), driver.Options{})
		require.NoError(t, err)
		require.NoError(t, d.Create(t.Context(), "named", nil, driver.CreateOptions{}))
		require.NoError(t, d.Close())
		record := filepath.Join(root, b.Name, b.Records, "named", "layer.json")
		require.NoError(t, os.Remove(record))
		made, err := DriverOf(root)
		require.NoError(t, err)
		require.Equal(t, b.Name, made)
	}
	for _, dir := range []string{"overlay2/12", "btrfs/12", "vfs/12", "aufs/.layerkeep/layers/12"} {
		root := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
		made, err := DriverOf(root)
		require.NoError(t, err)
		require.Equal(t, strings.Split(dir, "/")[0], made, "a view has nothing but its record")
	}
	for _, name := range []string{".new-12-1", ".trash-12-1", ".old-12-1"} {
		root := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(root, "vfs", name, "tree"), 0o700))
		made, err := DriverOf(root)
		require.NoError(t, err)
		require.Empty(t, made, "the driver's own")
	}
}
