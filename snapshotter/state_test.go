package snapshotter

import (
	"context"
	"fmt"
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
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// recordDir returns the directory in which a driver has the record of a
// snapshot's layer.
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

// states returns the states from StreamStates, without those of sound layers.
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

// onDisk runs a test with every backend. The store has the committed snapshots
// "base", and "top" over it, and the active snapshots "box" and "other" over
// "top".
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

// StreamStates reads the directory of the layers once. So it also reports a
// missing layer of a committed snapshot.
func TestACommittedSnapshotWithoutALayerIsToldAsMissing(t *testing.T) {
	onDisk(t, func(t *testing.T, s *Snapshotter) {
		if _, ok := s.Driver().(driver.Placer); !ok {
			t.Skip("its layers are not in one directory")
		}
		dir := recordDir(t, s, "base")
		hidden := filepath.Join(s.Root(), "hidden")
		require.NoError(t, os.Rename(dir, hidden))
		require.Equal(t, map[string]LayerState{"base": LayerMissing}, states(t, s))
		commit(t, s, "late", "", layerTar("late"))
		require.Equal(t, map[string]LayerState{"base": LayerMissing}, states(t, s))
		require.NoError(t, os.Rename(hidden, dir))
		require.Empty(t, states(t, s))
	})
}

// A snapshot that is made during the list has no layer in the directory as
// StreamStates read it.
func TestASnapshotThatIsMadeDuringAListIsNotToldAsMissing(t *testing.T) {
	onDisk(t, func(t *testing.T, s *Snapshotter) {
		made := false
		require.NoError(t, s.StreamStates(t.Context(), func(_ context.Context, info snapshots.Info, state LayerState) error {
			require.Empty(t, state, info.Name)
			if !made { // the rows come in batches, and the rows of this batch were read already
				made = true
				for n := range 2 * streamBatch {
					require.NoError(t, s.Create(t.Context(), fmt.Sprint("x", n), ""))
				}
				require.NoError(t, s.Commit(t.Context(), "y", "x0"))
			}
			return nil
		}))
	})
}

func TestTheNumbersOfLayersTakeABitEach(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"0", "63", "64", "1000000", "x", ".new-7-1", "18446744073709551615"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	all, err := readLayerNumbers(dir)
	require.NoError(t, err)
	require.Len(t, all, 4)
	for layer, lacks := range map[string]bool{
		"0": false, "63": false, "64": false, "1000000": false, "18446744073709551615": false,
		"1": true, "62": true, "65": true, "7": true, "x": false, "": false, "ELSEWHERE.1": false,
	} {
		require.Equal(t, lacks, all.lacks(meta.Snapshot{Layer: layer}), layer)
	}
	require.False(t, all.lacks(meta.Snapshot{Layer: "7", Store: "ELSEWHERE"}))
	require.False(t, all.lacks(meta.Snapshot{Layer: "7", Foreign: true}))
	all, err = readLayerNumbers(filepath.Join(dir, "gone"))
	require.NoError(t, err)
	require.True(t, all.lacks(meta.Snapshot{Layer: "1"}))
	require.False(t, layerNumbers(nil).lacks(meta.Snapshot{Layer: "1"}), "it was not looked at")
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

// gate is a layer tar that stops before its end until the gate is opened.
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
