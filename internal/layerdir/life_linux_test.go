package layerdir

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/tar"
)

// lifeStore makes a store with one layer in each state.
func lifeStore(t *testing.T) *Store {
	t.Helper()
	s := open(t)
	for id, m := range map[driver.ID]Meta{
		"open": {Parents: []driver.ID{"sealed"}}, "view": {View: true}, "torn": {},
		"sealed": {Sealed: true, Usage: &driver.Usage{Bytes: 9, Inodes: 3}, Note: json.RawMessage(`"old"`)},
	} {
		require.NoError(t, s.Create(id, m, func(dir string) error { return os.MkdirAll(dir+"/tree/d", 0o755) }))
	}
	require.NoError(t, s.tear("torn"))
	return s
}

func TestEachStateAllowsWhatItShould(t *testing.T) {
	s := lifeStore(t)
	nothing := func(*Meta) error { return nil }
	for id, want := range map[driver.ID]struct{ seal, writable error }{
		"none": {driver.ErrNotFound, driver.ErrNotFound},
		"view": {driver.ErrUnsupported, driver.ErrSealed},
		"torn": {driver.ErrTorn, driver.ErrTorn},
		"open": {}, "sealed": {writable: driver.ErrSealed},
	} {
		_, err := s.Writable(id)
		require.ErrorIs(t, err, want.writable, id)
		_, _, done, err := s.Unpacking(id)
		require.ErrorIs(t, err, want.writable, id)
		if err == nil {
			done()
		}
		require.ErrorIs(t, s.Seal(t.Context(), id, "tree", nothing), want.seal, id)
	}
	m, err := s.Load("open")
	require.NoError(t, err)
	require.True(t, m.Sealed)
	require.EqualValues(t, 2, m.Usage.Inodes)
}

func TestALayerIsNotSealedWhenAStepFails(t *testing.T) {
	boom := errors.New("boom")
	fails, works := func(*Meta) error { return boom }, func(*Meta) error { return nil }
	s := lifeStore(t)
	require.ErrorIs(t, s.SealWith("open", fails, works), boom)
	require.ErrorIs(t, s.SealWith("open", works, fails), boom)
	require.ErrorIs(t, s.Seal(t.Context(), "open", "no such tree", works), os.ErrNotExist)
	m, err := s.Load("open")
	require.NoError(t, err)
	require.False(t, m.Sealed)
}

// A layer with as many parents as a stack can have could be sealed, but could
// not be a parent afterwards.
func TestALayerOnWhichNoneCouldStandIsNotSealed(t *testing.T) {
	s := lifeStore(t)
	nothing := func(*Meta) error { return nil }
	s.StackAtMost(1)
	require.ErrorIs(t, s.Seal(t.Context(), "open", "tree", nothing), driver.ErrTooManyLayers)
	_, err := s.CheckParents([]driver.ID{"sealed", "sealed"})
	require.ErrorIs(t, err, driver.ErrTooManyLayers)
	_, err = s.CheckParents([]driver.ID{"sealed"})
	require.NoError(t, err)
	s.StackAtMost(2)
	require.NoError(t, s.Seal(t.Context(), "open", "tree", nothing))
}

func TestUsageIsWhatIsRecordedOrMeasured(t *testing.T) {
	s := lifeStore(t)
	for id, want := range map[driver.ID]driver.Usage{"sealed": {Bytes: 9, Inodes: 3}, "view": {}, "open": {Bytes: 1, Inodes: 1}} {
		m, err := s.Load(id)
		require.NoError(t, err)
		got, err := m.UsageOr(func() (driver.Usage, error) { return driver.Usage{Bytes: 1, Inodes: 1}, nil })
		require.NoError(t, err)
		require.Equal(t, want, got, id)
	}
	_, err := s.Usage(t.Context(), "none", "tree")
	require.ErrorIs(t, err, driver.ErrNotFound)
	all, err := s.Usage(t.Context(), "open", "tree")
	require.NoError(t, err)
	require.EqualValues(t, 2, all.Inodes)
	without, err := UsageWithout(t.Context(), s.Path("open"), "tree")
	require.NoError(t, err)
	require.EqualValues(t, 2, without.Inodes, "the directory and the record")
}

func TestARecordSaysWhatALayerIs(t *testing.T) {
	s := lifeStore(t)
	r := s.Recorder("test")
	for id, want := range map[driver.ID]driver.Record{
		"open": {Parents: []driver.ID{"sealed"}}, "view": {View: true}, "torn": {Torn: true},
		"sealed": {Sealed: true, Note: json.RawMessage(`"old"`)},
	} {
		got, err := r.Record(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, want, got, id)
	}
	_, err := r.Record(t.Context(), "none")
	require.ErrorIs(t, err, driver.ErrNotFound)
	require.ErrorContains(t, err, "test: record of layer none")
	// A mark in a sealed layer or in a view has no effect.
	for _, id := range []driver.ID{"sealed", "view"} {
		require.NoError(t, os.WriteFile(s.Path(id, tornName), nil, 0o600))
		got, err := r.Record(t.Context(), id)
		require.NoError(t, err)
		require.False(t, got.Torn, id)
	}
}

func TestANoteIsKeptAtOnceOrWithTheSeal(t *testing.T) {
	s := lifeStore(t)
	r, note := s.Recorder("test"), json.RawMessage(`"new"`)
	err := r.Note(t.Context(), "none", note)
	require.ErrorIs(t, err, driver.ErrNotFound)
	require.ErrorContains(t, err, "test: note on layer none")
	for _, id := range []driver.ID{"sealed", "open"} {
		before, err := s.Recorded(id)
		require.NoError(t, err)
		require.NoError(t, r.Note(t.Context(), id, note))
		if id == "open" {
			m, err := s.Load(id)
			require.NoError(t, err)
			require.Nil(t, m.Note, "it costs no write of its own")
			require.NoError(t, s.Seal(t.Context(), id, "tree", func(*Meta) error { return nil }))
			require.Empty(t, s.notes)
		}
		m, err := s.Load(id)
		require.NoError(t, err)
		require.Equal(t, note, m.Note, id)

		aside := s.Path(id, "aside")
		require.NoError(t, os.Rename(s.Path(id, RecordName), aside))
		require.NoError(t, os.WriteFile(s.Path(id, RecordName), mustRead(t, aside), 0o600))
		require.NoError(t, os.Chtimes(s.Path(id, RecordName), time.Time{}, before.Add(-time.Hour)))
		require.NoError(t, r.Note(t.Context(), id, note))
		after, err := s.Recorded(id)
		require.NoError(t, err)
		require.Equal(t, before.Add(-time.Hour), after, "a note that is there already is not written again")
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func TestAMergeThatFailsLeavesTheLayerAsItWas(t *testing.T) {
	boom := errors.New("boom")
	for _, sync := range []bool{false, true} {
		s := lifeStore(t)
		require.ErrorIs(t, s.Merging("open", sync, func() error {
			_, err := s.Writable("open")
			require.ErrorIs(t, err, driver.ErrTorn, "nobody else changes it meanwhile")
			return boom
		}), boom)
		_, err := s.Writable("open")
		require.NoError(t, err)
		require.NoError(t, s.Merging("open", sync, func() error { return nil }))
		_, err = s.Writable("open")
		require.NoError(t, err)
		require.ErrorIs(t, s.Merging("open", sync, func() error { return tar.ErrTorn }), tar.ErrTorn)
		_, err = s.Writable("open")
		require.ErrorIs(t, err, driver.ErrTorn)
		for range 2 {
			require.NoError(t, s.Renew("open", Meta{}))
			_, err = s.Writable("open")
			require.NoError(t, err, "its content is new")
			require.NoError(t, s.tear("open"))
		}
	}
}

// StandingOn returns the layers that have a layer as a parent according to
// their records, and layers whose record cannot be read.
func TestLayersThatStandOnAnother(t *testing.T) {
	s := lifeStore(t)
	require.NoError(t, os.WriteFile(s.Path("torn", RecordName), []byte("{"), 0o600))
	for id, want := range map[driver.ID][]driver.ID{"sealed": {"sealed", "open", "torn"}, "open": {"open", "torn"}, "torn": {"torn"}} {
		ids, err := s.standingOn(id)
		require.NoError(t, err)
		require.Equal(t, want, ids)
	}
}

func TestCleaningUpEndsWithItsContext(t *testing.T) {
	s := lifeStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Cleanup(ctx), context.Canceled)
	require.True(t, s.Leftovers())
	for range 2 {
		require.NoError(t, s.Cleanup(t.Context()))
		require.False(t, s.Leftovers())
	}
}

func TestOnlyLayersAreListed(t *testing.T) {
	s := lifeStore(t)
	_, done, err := s.Staging("new")
	require.NoError(t, err)
	defer done()
	require.NoError(t, os.WriteFile(s.Path("file"), nil, 0o600))
	require.NoError(t, os.Symlink("sealed", s.Path("link")))
	ids, err := s.List()
	require.NoError(t, err)
	require.Equal(t, []driver.ID{"open", "sealed", "torn", "view"}, ids)

	missing, err := OpenReadOnly(s.Path("none"))
	require.NoError(t, err)
	ids, err = missing.List()
	require.NoError(t, err)
	require.Empty(t, ids)
	require.NoError(t, missing.Close())
	require.NoError(t, os.RemoveAll(s.Root()))
	_, err = s.List()
	require.ErrorIs(t, err, os.ErrNotExist, "a store that was there and is gone is no empty one")
	require.NoError(t, os.Mkdir(s.Root(), 0o700))
}

func TestEveryFileOfALayerIsCountedOnce(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(dir+"/d/e", 0o700))
	require.NoError(t, os.WriteFile(dir+"/d/e/f", make([]byte, 10_000), 0o600))
	require.NoError(t, os.Link(dir+"/d/e/f", dir+"/d/g"))
	require.NoError(t, os.Symlink("f", dir+"/d/e/l"))
	require.NoError(t, os.MkdirAll(dir+"/other/d", 0o700))
	bytes := func(paths ...string) (sum int64) {
		for _, p := range paths {
			var st unix.Stat_t
			require.NoError(t, unix.Lstat(dir+p, &st))
			sum += st.Blocks * 512
		}
		return sum
	}
	seen := []string{}
	visit := func(_ *rootfd.Dir, name string) error { seen = append(seen, name); return nil }
	usage, err := UsageVisiting(t.Context(), dir, visit)
	require.NoError(t, err)
	require.Equal(t, driver.Usage{Inodes: 7, Bytes: bytes("", "/d", "/d/e", "/d/e/f", "/d/e/l", "/other", "/other/d")}, usage)
	require.ElementsMatch(t, []string{"", "d", "e", "f", "l", "g", "other", "d"}, seen)
	usage, err = UsageWithout(t.Context(), dir, "other")
	require.NoError(t, err)
	require.Equal(t, int64(5), usage.Inodes)
}
