package drivertest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testReplace is for drivers that are a [driver.Replacer].
func (s *suite) testReplace(t *testing.T) {
	if _, ok := s.open(t).d.(driver.Replacer); !ok {
		t.Skip("the driver cannot put one layer in the place of another")
	}
	t.Run("a damaged layer is replaced under its children", s.replaceDamaged)
	t.Run("a missing layer is replaced", s.replaceMissing)
	t.Run("Replace says what is wrong and leaves the layer", s.replaceErrors)
	t.Run("what is mounted keeps the files of the old layer", s.replaceMounted)
	t.Run("what a killed Replace left is cleaned up", s.replaceKilled)
}

func (st *store) replace(id, made driver.ID) error {
	st.t.Helper()
	return optional[driver.Replacer](st).Replace(st.ctx(), id, made)
}

// lose removes all there is of a layer, as a damaged disk might.
func (st *store) lose(id driver.ID) {
	st.t.Helper()
	for _, path := range st.places(id) {
		require.NoError(st.t, RemoveAll(path))
	}
}

// damage spoils the layer's directory: all that is in it goes but an empty
// tree.
func (st *store) damage(id driver.ID) {
	st.t.Helper()
	st.lose(id)
	require.NoError(st.t, os.Mkdir(st.places(id)[0], 0o700))
}

func (st *store) places(id driver.ID) []string {
	if st.Places == nil {
		return []string{filepath.Join(st.dir, string(id))}
	}
	return st.Places(st.dir, id)
}

func (s *suite) replaceDamaged(t *testing.T) {
	st := s.open(t)
	base := st.layer("base", nil, Dir("d"), File("d/below", "below"))
	upper := []Entry{Dir("d"), File("d/x", "x").WithMode(0o4755), Whiteout("d/below")}
	chain := st.layer("upper", base, upper...)
	top := st.layer("top", chain, File("d/top", "top"))
	st.create("work", top...)
	st.mustApply("work", File("d/work", "work"))
	want := map[driver.ID]Tree{}
	for _, id := range []driver.ID{"upper", "top", "work"} {
		want[id] = st.tree(id)
	}
	changes := st.diff("upper")

	st.damage("upper")
	st.layer("made", base, upper...)
	note := []byte(`{"k":"v"}`)
	require.NoError(t, st.recorder().Note(t.Context(), "made", note))
	require.NoError(t, st.replace("upper", "made"))
	for range 2 {
		st.requireLayers("base", "upper", "top", "work")
		st.requireRecord(driver.Record{Sealed: true, Parents: base, Note: note}, "upper")
		for id, tree := range want {
			st.requireTree(tree, id, "after the layer was replaced")
		}
		require.Equal(t, changes, st.diff("upper"), "the changes of the new layer")
		require.NoError(t, st.d.Cleanup(t.Context()))
		st = st.openAgain()
	}
	st.requireNoOld("the old layer is deleted")

	st.layer("new", append([]driver.ID{"top"}, st.parents["top"]...), File("n", "n"))
	require.NoError(t, st.d.Remove(t.Context(), "new"))
	require.NoError(t, st.d.Remove(t.Context(), "work"))
	require.NoError(t, st.d.Remove(t.Context(), "top"))
	require.NoError(t, st.d.Remove(t.Context(), "upper"))
	st.requireLayers("base")
}

func (s *suite) replaceMissing(t *testing.T) {
	st := s.open(t)
	base := st.layer("base", nil, File("f", "f"))
	st.create("work", base...)
	want := st.tree("work")
	st.lose("base")
	st.layer("made", nil, File("f", "f"))
	require.NoError(t, st.replace("base", "made"))
	st.requireLayers("base", "work")
	st.requireTree(want, "work", "on the layer that is there again")
	st.layer("next", base, File("g", "g"))
}

func (s *suite) replaceErrors(t *testing.T) {
	st := s.open(t)
	st.layer("a", nil, File("f", "old"))
	st.create("unsealed")
	want := st.tree("a")
	require.ErrorIs(t, st.replace("a", "missing"), driver.ErrNotFound)
	require.ErrorIs(t, st.replace("a", "unsealed"), driver.ErrNotSealed)
	require.ErrorIs(t, st.replace("../a", "a"), driver.ErrInvalidID)
	require.ErrorIs(t, st.replace("a", "../a"), driver.ErrInvalidID)
	st.requireTree(want, "a", "after what was refused")
	st.requireLayers("a", "unsealed")
}

func (s *suite) replaceMounted(t *testing.T) {
	if !s.can.mounts {
		t.Skip("nothing can be mounted")
	}
	st := s.open(t)
	base := st.layer("base", nil, Dir("d"), File("d/f", "old"))
	st.createView("view", base...)
	st.mounted("view", driver.MountOptions{}, func(root string) error {
		st.layer("made", nil, Dir("d"), File("d/f", "new"))
		if s.ReplacesIdle {
			require.ErrorIs(t, st.replace("base", "made"), driver.ErrBusy)
		} else {
			require.NoError(t, st.replace("base", "made"))
		}
		require.NoError(t, st.d.Cleanup(t.Context()))
		body, err := os.ReadFile(root + "/d/f")
		require.NoError(t, err)
		require.Equal(t, "old", string(body), "the mount is as it was")
		return nil
	})
	if s.ReplacesIdle {
		require.NoError(t, st.replace("base", "made"))
	}
	require.Equal(t, Body("new"), st.tree("view")["d/f"].Body, "the next mount shows the new layer")
	st.requireNoOld("nobody has the old layer mounted any more")
}

// replaceKilled has what is there between the two renames.
func (s *suite) replaceKilled(t *testing.T) {
	if s.Places != nil {
		t.Skip("the backend's own tests kill it between its steps, which are others")
	}
	st := s.open(t)
	st.layer("a", nil, File("f", "old"))
	st.layer("made", nil, File("f", "new"))
	want := st.tree("a")
	require.NoError(t, os.Rename(filepath.Join(st.dir, "made"), filepath.Join(st.dir, ".old-a-1")))
	st = st.openAgain()
	st.requireNoOld("what is left of a killed Replace")
	st.requireLayers("a")
	st.requireTree(want, "a", "after the kill")
}

// requireNoOld cleans up until no layer is left that another took the place of.
// Another process may have a copy of a mount of it for a while, in a namespace
// of its own.
func (st *store) requireNoOld(why string) {
	st.t.Helper()
	old := func() []string {
		require.NoError(st.t, st.d.Cleanup(st.ctx()))
		names, err := filepath.Glob(filepath.Join(st.dir, ".old-*"))
		require.NoError(st.t, err)
		return names
	}
	names := old()
	for start := time.Now(); len(names) > 0 && time.Since(start) < Patience; time.Sleep(20 * time.Millisecond) {
		names = old()
	}
	require.Empty(st.t, names, why)
}
