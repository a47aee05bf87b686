package drivertest

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

func (s *suite) testRecord(t *testing.T) {
	t.Run("a record says what the layer is", s.recordSays)
	t.Run("a note of a writable layer is kept when it is sealed", s.noteSealed)
	t.Run("a note of a sealed layer is kept at once", s.noteAtOnce)
	t.Run("a note that nobody sealed is not kept", s.noteLost)
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

func (s *suite) noteLost(t *testing.T) {
	st := s.open(t)
	require.NoError(t, st.d.Create(t.Context(), "a", nil, driver.CreateOptions{Note: json.RawMessage(`"first"`)}))
	require.NoError(t, st.recorder().Note(t.Context(), "a", json.RawMessage(`"second"`)))
	st = st.openAgain()
	require.NoError(t, st.d.Seal(t.Context(), "a"))
	st.requireRecord(driver.Record{Sealed: true, Note: json.RawMessage(`"first"`)}, "a")
}
