package snapshotter

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
)

// recordDir is the directory in which a driver has the record of a snapshot's layer.
func recordDir(t *testing.T, s *Snapshotter, key string) string {
	t.Helper()
	row, err := s.row(key)
	require.NoError(t, err)
	for _, dir := range []string{s.Driver().Name(), "aufs/.layerkeep/layers"} {
		dir = filepath.Join(s.Root(), dir, row.Layer)
		if _, err := os.Stat(filepath.Join(dir, "layer.json")); err == nil {
			return dir
		}
	}
	t.Fatalf("no record of the layer of %q", key)
	return ""
}

// states are those that StreamStates tells, without the sound ones.
func states(t *testing.T, s *Snapshotter) map[string]LayerState {
	t.Helper()
	all := map[string]LayerState{}
	require.NoError(t, s.StreamStates(t.Context(), func(_ context.Context, info snapshots.Info, state LayerState) error {
		if state != LayerSound {
			all[info.Name] = state
		}
		return nil
	}))
	return all
}

// onDisk runs a test with every backend on a store that has a committed "base", "top" on
// it, and the active "box" and "other" on that.
func onDisk(t *testing.T, test func(t *testing.T, s *Snapshotter)) {
	t.Helper()
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, t.TempDir(), name)
			s := openAt(t, filepath.Join(dir, "store"), Options{Driver: name})
			commit(t, s, "base", "", layerTar("base"))
			commit(t, s, "top", "base", layerTar("top"))
			active(t, s, "box", "top", layerTar("box"))
			active(t, s, "other", "top", layerTar("other"))
			test(t, s)
			require.NoError(t, s.Close())
		})
	}
}

func TestATornOrMissingLayerIsToldAsSuch(t *testing.T) {
	for what, harm := range map[LayerState]func(t *testing.T, dir string){
		LayerTorn: func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "torn"), nil, 0o600))
		},
		LayerMissing: func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(dir, "layer.json")))
		},
		LayerUnreadable: func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "layer.json"), []byte("{"), 0o600))
		},
	} {
		t.Run(string(what), func(t *testing.T) {
			onDisk(t, func(t *testing.T, s *Snapshotter) {
				require.Empty(t, states(t, s))
				harm(t, recordDir(t, s, "box"))
				require.Equal(t, map[string]LayerState{"box": what}, states(t, s))
				state, err := s.LayerState(t.Context(), "box")
				require.NoError(t, err)
				require.Equal(t, what, state)
				damage, err := s.Damage(t.Context(), "box")
				require.NoError(t, err)
				require.Len(t, damage, 1)
				require.Equal(t, LayerDamage{Key: "box", Kind: snapshots.KindActive, State: what, What: damage[0].What}, damage[0])
				require.NotEmpty(t, damage[0].What)
				for _, sound := range []string{"other", "top", "base"} {
					damage, err := s.Damage(t.Context(), sound)
					require.NoError(t, err)
					require.Empty(t, damage, sound)
				}
			})
		})
	}
}

func TestDamageOfAParentIsToldOfWhatStandsOnIt(t *testing.T) {
	onDisk(t, func(t *testing.T, s *Snapshotter) {
		dir := recordDir(t, s, "base")
		require.NoError(t, os.Rename(filepath.Join(dir, "layer.json"), filepath.Join(dir, "hidden")))
		damage, err := s.Damage(t.Context(), "box")
		require.NoError(t, err)
		last := damage[len(damage)-1]
		require.Equal(t, LayerDamage{Key: "base", Kind: snapshots.KindCommitted, State: LayerMissing, What: ErrLayerMissing.Error()}, last)
		require.Empty(t, states(t, s), "a list looks at the records of what is not committed")
		require.NoError(t, os.Rename(filepath.Join(dir, "hidden"), filepath.Join(dir, "layer.json")))
	})
}

func TestWhatCannotBeLookedAtIsNotToldAsDamage(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "store"), Options{open: newFakeDisk().open})
	active(t, s, "box", "", layerTar("box"))
	require.Equal(t, LayerUnknown, stateOf(&os.PathError{Op: "open", Path: "x", Err: os.ErrPermission}))
	_, err := s.LayerState(t.Context(), "nobody")
	require.True(t, errdefs.IsNotFound(err), "%v", err)
	_, err = s.Damage(t.Context(), "nobody")
	require.True(t, errdefs.IsNotFound(err), "%v", err)
	require.NoError(t, s.Close())
}

// gate is a layer that stops in the middle until it is opened.
type gate struct {
	io.Reader
	reached, open chan struct{}
}

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if err == io.EOF && g.reached != nil {
		close(g.reached)
		<-g.open
		g.reached = nil
	}
	return n, err
}

func TestASnapshotThatIsBeingChangedIsNoDamagedOne(t *testing.T) {
	onDisk(t, func(t *testing.T, s *Snapshotter) {
		require.NoError(t, os.WriteFile(filepath.Join(recordDir(t, s, "box"), "merging"), nil, 0o600))
		require.Equal(t, map[string]LayerState{"box": LayerTorn}, states(t, s), "nobody is merging")
		g := &gate{strings.NewReader(layerTar("more")), make(chan struct{}), make(chan struct{})}
		reached, done := g.reached, make(chan error)
		go func() {
			_, err := s.Apply(t.Context(), "other", g, driver.ApplyOptions{})
			done <- err
		}()
		<-reached
		mark := filepath.Join(recordDir(t, s, "other"), "merging")
		require.NoError(t, os.WriteFile(mark, nil, 0o600))
		require.Equal(t, map[string]LayerState{"box": LayerTorn}, states(t, s), "somebody is")
		require.NoError(t, os.Remove(mark))
		close(g.open)
		require.NoError(t, <-done)
		require.Equal(t, map[string]LayerState{"box": LayerTorn}, states(t, s))
	})
}
