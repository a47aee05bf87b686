package snapshotter

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// chainInUse makes, in a scope, the committed snapshots "base" and "top", and
// "view" over "top". It marks the view as mounted, and returns its layer.
func chainInUse(t *testing.T, s *Snapshotter, disk *fakeDisk) (*Scope, *fakeLayer) {
	t.Helper()
	sc, err := s.Scope("eng")
	require.NoError(t, err)
	for _, name := range [][2]string{{"base", ""}, {"top", "base"}} {
		require.NoError(t, sc.Create(t.Context(), "key", name[1]))
		require.NoError(t, sc.Commit(t.Context(), name[0], "key", snapshots.WithLabels(map[string]string{"a": "b"})))
	}
	_, err = sc.View(t.Context(), "view", "top")
	require.NoError(t, err)
	id := layerOf(rowsOf(t, s)["@eng/view"])
	disk.mu.Lock()
	defer disk.mu.Unlock()
	disk.layers[id].busy = true
	return sc, disk.layers[id]
}

// release marks the layer as no longer mounted.
func (d *fakeDisk) release(l *fakeLayer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l.busy = false
}

func (d *fakeDisk) requireLayers(t *testing.T, want int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Len(t, d.layers, want, "layers on disk: those that a mount needs, and no others")
}

// removeAll removes all snapshots that an engine sees, as its garbage
// collection does.
func removeAll(t *testing.T, sc *Scope) {
	t.Helper()
	for _, name := range []string{"view", "top", "base"} {
		if err := sc.Remove(t.Context(), name); !errdefs.IsNotFound(err) {
			require.NoError(t, err, name)
		}
	}
	requireUnseen(t, sc)
}

func requireUnseen(t *testing.T, sc *Scope) {
	t.Helper()
	require.NoError(t, sc.s.Walk(t.Context(), func(_ context.Context, info snapshots.Info) error {
		return errors.New(info.Name + " is seen")
	}))
	for _, name := range []string{"view", "top", "base"} {
		_, err := sc.Stat(t.Context(), name)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
	}
}

func TestAMountedViewOfAnEngineKeepsItsLayersButNoSnapshot(t *testing.T) {
	disk := newFakeDisk()
	root := memDir(t)
	s, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	sc, view := chainInUse(t, s, disk)
	require.ErrorIs(t, s.Remove(t.Context(), "@eng/view"), driver.ErrBusy, "tools are told")
	require.ErrorIs(t, sc.Remove(t.Context(), "top"), errdefs.ErrFailedPrecondition, "the view is still there")

	require.NoError(t, sc.Remove(t.Context(), "view"))
	err = s.Remove(t.Context(), "@eng/top")
	require.ErrorIs(t, err, driver.ErrBusy)
	require.NotContains(t, err.Error(), asidePrefix)
	removeAll(t, sc)
	for name, row := range rowsOf(t, s) {
		require.Equal(t, meta.Aside, row.State, name)
		require.Empty(t, row.Labels, name)
		require.ErrorIs(t, s.Remove(t.Context(), name), errdefs.ErrNotFound)
	}
	require.NoError(t, sc.Create(t.Context(), "base", ""), "the name is free")
	require.NoError(t, sc.Remove(t.Context(), "base"))

	require.NoError(t, sc.Cleanup(t.Context()))
	disk.requireLayers(t, 3)
	require.NoError(t, s.Close())
	s, err = Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	s.bg.wait()
	disk.requireLayers(t, 3)

	disk.release(view)
	require.NoError(t, s.Cleanup(t.Context()))
	disk.requireLayers(t, 0)
	require.Empty(t, rowsOf(t, s))
	require.NoError(t, s.Close())
}

func TestWhatWasInUseGoesWhenTheStoreIsOpenedOrSomethingElseRemoved(t *testing.T) {
	disk := newFakeDisk()
	root := memDir(t)
	s, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	sc, view := chainInUse(t, s, disk)
	removeAll(t, sc)
	require.NoError(t, s.Close())
	disk.release(view)
	s = openAt(t, root, Options{open: disk.open})
	s.bg.wait()
	disk.requireLayers(t, 0)

	sc, view = chainInUse(t, s, disk)
	removeAll(t, sc)
	disk.release(view)
	require.NoError(t, s.Create(t.Context(), "other", ""))
	require.NoError(t, s.Remove(t.Context(), "other"))
	s.bg.wait()
	disk.requireLayers(t, 0)
	requireSound(t, s)
}

func TestOnlyWhatIsStillInUseOfAChainIsKept(t *testing.T) {
	s, disk := openFake(t)
	sc, view := chainInUse(t, s, disk)
	require.NoError(t, sc.Remove(t.Context(), "view"))
	_, err := sc.View(t.Context(), "again", "top")
	require.NoError(t, err, "a snapshot below one in use is as any other")
	require.ErrorIs(t, sc.Remove(t.Context(), "top"), errdefs.ErrFailedPrecondition)
	require.NoError(t, sc.Remove(t.Context(), "again"))
	disk.release(view)
	require.NoError(t, s.Remove(t.Context(), "@eng/top"), "it is idle now")
	require.NoError(t, sc.Remove(t.Context(), "base"))
	s.bg.wait()
	disk.requireLayers(t, 0)
}

// A removal of a snapshot that is in use is interrupted, or fails, at each
// step. Nothing that a mount needs is lost, and nothing is left when the mount
// is gone.
func TestRemovingWhatIsInUseIsSafeAtEveryStep(t *testing.T) {
	for _, dying := range []bool{true, false} {
		for at, fired := 0, true; fired; at++ {
			disk := newFakeDisk()
			c := &crashStore{root: freshDir(t, memDir(t)), open: disk.open}
			c.start(t)
			sc, view := chainInUse(t, c.s, disk)
			c.fault.arm(at, dying)
			err := errors.Join(sc.Remove(t.Context(), "view"), sc.Remove(t.Context(), "top"), sc.Remove(t.Context(), "base"))
			c.s.bg.wait()
			if fired = c.fault.fired(); !fired {
				require.NoError(t, err)
				require.Greater(t, at, 3)
			}
			t.Logf("dying %v: %s: %v", dying, c.fault.trace(), err)
			if dying {
				c.kill(t)
				c.start(t)
				c.s.bg.wait()
				sc, err = c.s.Scope("eng")
				require.NoError(t, err)
			}
			c.fault.arm(1<<30, false)
			disk.requireLayers(t, 3)
			removeAll(t, sc)
			disk.requireLayers(t, 3)
			disk.release(view)
			require.NoError(t, c.s.Cleanup(t.Context()))
			disk.requireLayers(t, 0)
			require.Empty(t, rowsOf(t, c.s))
			require.NoError(t, c.s.Close())
		}
	}
}
