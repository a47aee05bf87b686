package check_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/repair"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// committed makes committed snapshots of one file each, with or without
// digests.
func (p place) committed(t *testing.T, limit int64, keys ...string) {
	t.Helper()
	snaps, err := snapshotter.Open(t.Context(), p.root, snapshotter.Options{Driver: p.backend, DigestLimit: limit})
	require.NoError(t, err)
	for _, key := range keys {
		require.NoError(t, snaps.Create(t.Context(), key+" key", ""))
		_, err := snaps.Apply(t.Context(), key+" key", bytes.NewReader(Layer(t, File("f", key), File("g", "g"))), driver.ApplyOptions{})
		require.NoError(t, err)
		require.NoError(t, snaps.Commit(t.Context(), key, key+" key"))
	}
	require.NoError(t, snaps.Close())
}

func (p place) removeRecord(t *testing.T, key string) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(p.layer(t, key), "layer.json")))
}

// requireDamaged requires that a snapshot is not repaired, however often a
// repair runs, and that a check still finds the damage.
func (p place) requireDamaged(t *testing.T, key, why string) {
	t.Helper()
	for range 2 {
		var problems []string
		for _, o := range p.repair(t, repair.Options{}) {
			if o.Name == key {
				require.Error(t, o.Err)
				problems = append(problems, o.Err.Error())
			}
		}
		require.Contains(t, strings.Join(problems, "\n"), why)
		found, _ := p.check(t, check.Options{})
		require.NotEmpty(t, found)
		require.Equal(t, key, found[0].Name)
	}
}

// Writing a record again must not turn a committed layer into something else.
func TestALayerWithoutARecordThatHasChangedStaysDamaged(t *testing.T) {
	for _, backend := range []string{"overlay2", "vfs", "btrfs", "aufs"} {
		t.Run(backend, func(t *testing.T) {
			alltest.SkipInShort(t, backend)
			p := newPlace(t, backend)
			p.committed(t, 0, "changed")
			p.committed(t, -1, "fewer", "whole")
			open := func() {
				if backend == "btrfs" {
					thaw(t, p)
				}
			}
			open()
			flip(t, p.file(t, "changed", "f"))
			p.removeRecord(t, "changed")
			p.requireDamaged(t, "changed", "not what was committed")
			open()
			flip(t, p.file(t, "changed", "f"))
			for _, o := range p.repair(t, repair.Options{}) {
				require.NoError(t, o.Err)
				require.False(t, o.Unverified)
			}

			open()
			gone := p.file(t, "fewer", "g")
			require.NoError(t, os.Remove(gone))
			p.removeRecord(t, "fewer")
			p.requireDamaged(t, "fewer", "files, and had")
			open()
			require.NoError(t, os.WriteFile(gone, []byte("g"), 0o644))
			p.removeRecord(t, "whole")
			all := p.repair(t, repair.Options{})
			require.Len(t, all, 2)
			for _, o := range all {
				require.NoError(t, o.Err)
				require.True(t, o.Unverified, "nobody can say what is in its files")
			}
			found, _ := p.check(t, check.Options{})
			require.Empty(t, found)
		})
	}
}

// A record with another name may have come together with the files of another
// snapshot.
func TestLayersThatHaveChangedPlacesAreNotRenamed(t *testing.T) {
	for name, limit := range map[string]int64{"with digests": 0, "without": -1} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "overlay2")
			p.committed(t, limit, "one", "two")
			one, two := p.layer(t, "one"), p.layer(t, "two")
			require.NoError(t, unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, two, unix.RENAME_EXCHANGE))
			for range 2 {
				all := p.repair(t, repair.Options{})
				require.Len(t, all, 2)
				for _, o := range all {
					require.ErrorIs(t, o.Err, repair.ErrBeyondHelp, o.Name)
					require.True(t, o.Quarantined)
				}
			}
			require.NoError(t, unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, two, unix.RENAME_EXCHANGE))
			for _, o := range p.repair(t, repair.Options{}) {
				require.NoError(t, o.Err)
			}
			found, _ := p.check(t, check.Options{ReadData: true})
			require.Empty(t, found)
		})
	}
}

// A temporary problem, such as a mount or a full disk, does not make a snapshot
// one that cannot be repaired.
func TestAMountedLayerWithoutARecordIsRepairedLater(t *testing.T) {
	p := newPlace(t, "overlay2")
	dir := filepath.Dir(p.file(t, "work", "work"))
	require.NoError(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	p.removeRecord(t, "work")
	all := p.repair(t, repair.Options{})
	require.Len(t, all, 1)
	require.ErrorIs(t, all[0].Err, driver.ErrBusy)
	require.NotErrorIs(t, all[0].Err, repair.ErrBeyondHelp)
	require.ErrorContains(t, all[0].Err, "unmount it")
	require.NoError(t, unix.Unmount(dir, 0))
	all = p.repair(t, repair.Options{})
	require.Len(t, all, 1)
	require.NoError(t, all[0].Err)
}

// A layer without a snapshot and without a record stays forever, unless the
// user is told what to do.
func TestADirectoryWithoutARecordThatNoSnapshotNamesIsToldOf(t *testing.T) {
	for _, backend := range []string{"overlay2", "vfs", "btrfs"} {
		t.Run(backend, func(t *testing.T) {
			alltest.SkipInShort(t, backend)
			p := newPlace(t, backend)
			dir := filepath.Join(p.root, backend, "99")
			require.NoError(t, os.Mkdir(dir, 0o700))
			for _, dryRun := range []bool{true, false} {
				snaps, _ := p.open(t)
				restored, err := snaps.Restore(t.Context(), dryRun)
				require.NoError(t, err)
				require.NoError(t, snaps.Close())
				require.Len(t, restored, 1)
				require.Equal(t, driver.ID("99"), restored[0].Layer)
				require.ErrorContains(t, restored[0].Err, "take what is still good out of "+dir+", then remove that directory")
			}
			require.DirExists(t, dir)
		})
	}
}
