package drivertest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

func (s *suite) testRecord(t *testing.T) {
	t.Run("a record says what the layer is", s.recordSays)
	t.Run("a note of a writable layer is kept when it is sealed", s.noteSealed)
	t.Run("a note of a sealed layer is kept at once", s.noteAtOnce)
	t.Run("a note that cannot wait is kept at once in every state", s.noteNow)
	t.Run("a note that nobody sealed is not kept", s.noteLost)
	t.Run("a record that is lost is written again", s.recordAgain)
	t.Run("no record is written for what is not there", s.recordOfNothing)
}

// recorder returns the driver as a recorder, which every backend is.
func (st *store) recorder() driver.Recorder {
	st.t.Helper()
	return optional[driver.Recorder](st)
}

func (st *store) requireRecord(want driver.Record, id driver.ID) {
	st.t.Helper()
	got, err := st.recorder().Record(st.ctx(), id)
	require.NoError(st.t, err)
	require.JSONEq(st.t, orNull(want.Note), orNull(got.Note), "the note of %s", id)
	want.Note, got.Note = nil, nil
	require.Equal(st.t, want, got, "the record of %s", id)
}

// openAgain closes the driver and opens it once more.
func (st *store) openAgain() *store {
	st.t.Helper()
	require.NoError(st.t, st.d.Close())
	again := st.openAt(st.t, st.dir)
	again.parents, again.readOnly = st.parents, st.readOnly
	return again
}

func orNull(raw json.RawMessage) string {
	if raw == nil {
		return "null"
	}
	return string(raw)
}

func (s *suite) recordSays(t *testing.T) {
	st := s.open(t)
	note := json.RawMessage(`{"name":"<a> & \u0001", "n": 1}`)
	chain := st.layer("base", nil, File("f", "f"))
	chain = st.layer("next", chain, File("g", "g"))
	require.NoError(t, st.d.Create(t.Context(), "w", chain, driver.CreateOptions{Note: note}))
	require.NoError(t, st.d.Create(t.Context(), "v", chain, driver.CreateOptions{View: true, Note: note}))
	for range 2 {
		st.requireRecord(driver.Record{Sealed: true}, "base")
		st.requireRecord(driver.Record{Sealed: true, Parents: chain[1:]}, "next")
		st.requireRecord(driver.Record{Parents: chain, Note: note}, "w")
		st.requireRecord(driver.Record{Parents: chain, View: true, Note: note}, "v")
		st = st.openAgain()
	}
	_, err := st.recorder().Record(t.Context(), "missing")
	require.ErrorIs(t, err, driver.ErrNotFound)
	require.ErrorIs(t, st.recorder().Note(t.Context(), "missing", note), driver.ErrNotFound)
	_, err = st.recorder().Record(t.Context(), "../x")
	require.ErrorIs(t, err, driver.ErrInvalidID)
	require.ErrorIs(t, st.recorder().Note(t.Context(), "../x", note), driver.ErrInvalidID)
}

func (s *suite) noteSealed(t *testing.T) {
	st := s.open(t)
	require.NoError(t, st.d.Create(t.Context(), "a", nil, driver.CreateOptions{Note: json.RawMessage(`"first"`)}))
	require.NoError(t, st.recorder().Note(t.Context(), "a", json.RawMessage(`"second"`)))
	require.NoError(t, st.recorder().Note(t.Context(), "a", json.RawMessage(`"third"`)))
	require.NoError(t, st.d.Seal(t.Context(), "a"))
	for range 2 {
		st.requireRecord(driver.Record{Sealed: true, Note: json.RawMessage(`"third"`)}, "a")
		st = st.openAgain()
	}
	// A name that is used again has nothing of the one before.
	require.NoError(t, st.d.Remove(t.Context(), "a"))
	st.create("a")
	require.NoError(t, st.recorder().Note(t.Context(), "a", json.RawMessage(`"old"`)))
	require.NoError(t, st.d.Remove(t.Context(), "a"))
	st.create("a")
	require.NoError(t, st.d.Seal(t.Context(), "a"))
	st.requireRecord(driver.Record{Sealed: true}, "a")
}

func (s *suite) noteAtOnce(t *testing.T) {
	st := s.open(t)
	st.layer("a", nil, File("f", "f"))
	before := st.tree("a")
	require.NoError(t, st.recorder().Note(t.Context(), "a", json.RawMessage(`{"k":"v"}`)))
	for range 2 {
		st.requireRecord(driver.Record{Sealed: true, Note: json.RawMessage(`{"k":"v"}`)}, "a")
		st.requireTree(before, "a", "with a note")
		st = st.openAgain()
	}
	usage, err := st.d.Usage(t.Context(), "a")
	require.NoError(t, err)
	require.NotZero(t, usage.Inodes, "what was recorded before stays")
}

func (s *suite) noteNow(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, File("f", "f"))
	for id, opts := range map[driver.ID]driver.CreateOptions{"w": {}, "v": {View: true}, "later": {}} {
		require.NoError(t, st.d.Create(t.Context(), id, chain, opts))
	}
	require.NoError(t, st.apply("w", File("g", "g")))
	before := st.tree("w")
	// What waits for the seal is not put over it.
	require.NoError(t, st.recorder().Note(t.Context(), "later", json.RawMessage(`"for the seal"`)))
	note := json.RawMessage(`"now"`)
	for _, id := range []driver.ID{"base", "w", "v", "later"} {
		require.NoError(t, st.recorder().NoteNow(t.Context(), id, note))
	}
	require.NoError(t, st.d.Seal(t.Context(), "later"))
	for range 2 {
		st.requireRecord(driver.Record{Sealed: true, Note: note}, "base")
		st.requireRecord(driver.Record{Sealed: true, Parents: chain, Note: note}, "later")
		st.requireRecord(driver.Record{Parents: chain, Note: note}, "w")
		st.requireRecord(driver.Record{Parents: chain, View: true, Note: note}, "v")
		st.requireTree(before, "w", "with a note")
		st = st.openAgain()
	}
	require.ErrorIs(t, st.recorder().NoteNow(t.Context(), "missing", note), driver.ErrNotFound)
	require.ErrorIs(t, st.recorder().NoteNow(t.Context(), "../x", note), driver.ErrInvalidID)
	require.NoError(t, st.d.Seal(t.Context(), "w"))
	st.requireRecord(driver.Record{Sealed: true, Parents: chain, Note: note}, "w")
}

func (s *suite) noteLost(t *testing.T) {
	st := s.open(t)
	require.NoError(t, st.d.Create(t.Context(), "a", nil, driver.CreateOptions{Note: json.RawMessage(`"first"`)}))
	require.NoError(t, st.recorder().Note(t.Context(), "a", json.RawMessage(`"second"`)))
	st = st.openAgain()
	require.NoError(t, st.d.Seal(t.Context(), "a"))
	st.requireRecord(driver.Record{Sealed: true, Note: json.RawMessage(`"first"`)}, "a")
}

func (st *store) loseRecord(id driver.ID) {
	st.t.Helper()
	lost := 0
	for _, place := range st.places(id) {
		record := filepath.Join(place, "layer.json")
		if _, err := os.Lstat(record); err == nil {
			require.NoError(st.t, os.Remove(record))
			lost++
		}
	}
	require.Equal(st.t, 1, lost, "records of %s", id)
}

func (s *suite) recordAgain(t *testing.T) {
	if !s.rerecords {
		t.Skip("the driver writes no record again")
	}
	st := s.open(t)
	base := st.layer("base", nil, Dir("d"), File("d/below", "below"), File("d/gone", "g"))
	upper := []Entry{Dir("d").WithXattr("user.k", "v"), File("d/x", "x").WithMode(0o4755), Whiteout("d/gone")}
	if s.props.RefusedXattr == "" {
		upper = append(upper, Dir("e").WithXattr("trusted.overlay.opaque", "y"))
	}
	chain := st.layer("upper", base, upper...)
	st.create("work", chain...)
	st.mustApply("work", File("d/work", "w"))
	require.NoError(t, st.d.Create(t.Context(), "view", chain, driver.CreateOptions{View: true}))
	ids := []driver.ID{"upper", "work", "view"}
	trees, diffs := map[driver.ID]Tree{}, map[driver.ID][]byte{}
	for _, id := range ids {
		trees[id], diffs[id] = st.tree(id), st.diff(id)
	}
	note := json.RawMessage(`"note"`)
	for _, id := range ids {
		st.loseRecord(id)
	}
	st = st.openAgain()
	r := optional[driver.Rerecorder](st)
	parents := map[driver.ID][]driver.ID{"upper": base, "work": chain, "view": chain}
	for _, id := range ids {
		for range 2 { // as after an interrupted call
			require.NoError(t, r.Rerecord(t.Context(), id, parents[id], driver.CreateOptions{View: id == "view", Note: note}), id)
		}
		if id == "upper" {
			require.NoError(t, st.d.Seal(t.Context(), id))
		}
		st.requireRecord(driver.Record{Parents: parents[id], Sealed: id == "upper", View: id == "view", Note: note}, id)
	}
	for range 2 {
		for _, id := range ids {
			require.Equal(t, trees[id], st.tree(id), id)
			require.Equal(t, diffs[id], st.diff(id), id)
		}
		st = st.openAgain()
	}
	st.mustApply("work", File("d/more", "m"))
	require.NoError(t, st.d.Seal(t.Context(), "work"))
	st.create("on-it", append([]driver.ID{"work"}, chain...)...)
}

func (s *suite) recordOfNothing(t *testing.T) {
	if !s.rerecords {
		t.Skip("the driver writes no record again")
	}
	st := s.open(t)
	r := optional[driver.Rerecorder](st)
	base := st.layer("base", nil, File("f", "f"))
	st.create("work", base...)
	none := driver.CreateOptions{}
	require.ErrorIs(t, r.Rerecord(t.Context(), "missing", nil, none), driver.ErrNotFound)
	require.ErrorIs(t, r.Rerecord(t.Context(), "../x", nil, none), driver.ErrInvalidID)
	require.ErrorIs(t, r.Rerecord(t.Context(), "work", []driver.ID{"missing"}, none), driver.ErrNotFound)
	require.ErrorIs(t, r.Rerecord(t.Context(), "base", []driver.ID{"work"}, none), driver.ErrNotSealed)
	st.damage("base")
	require.NoError(t, RemoveAll(st.places("base")[0]))
	require.NoError(t, os.Mkdir(st.places("base")[0], 0o700))
	require.ErrorIs(t, r.Rerecord(t.Context(), "base", nil, none), driver.ErrNotFound, "its files")
}
