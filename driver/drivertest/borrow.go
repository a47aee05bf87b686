package drivertest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testBorrow is for drivers that are a [driver.Borrower].
func (s *suite) testBorrow(t *testing.T) {
	if _, ok := s.open(t).d.(driver.Borrower); !ok {
		t.Skip("the driver cannot stand on layers of another store")
	}
	t.Run("a borrowed layer is what one of the store itself would be", s.borrowSame)
	t.Run("nothing changes in the store that layers are borrowed from", s.borrowReadOnly)
	t.Run("a borrowed layer is missing while its store is", s.borrowMissing)
	t.Run("no record and no link of the other store leads out of it", s.borrowHostile)
}

// borrow gives st the layers of lender, whose IDs then begin with "L.".
func (st *store) borrow(lender *store) {
	st.t.Helper()
	require.NoError(st.t, optional[driver.Borrower](st).Borrow("L", lender.dir, foundBy(lender)))
}

func foundBy(st *store) json.RawMessage {
	if r, ok := st.d.(driver.Rememberer); ok {
		return r.Found()
	}
	return nil
}

// lent are IDs in a store that borrows these.
func lent(ids ...driver.ID) []driver.ID {
	all := make([]driver.ID, len(ids))
	for i, id := range ids {
		all[i] = "L." + id
	}
	return all
}

func borrowBase() []Entry {
	return []Entry{Dir("d").WithMode(0o750), File("d/f", "below"), File("d/gone", "gone"), Link("d/link", "d/f"), Symlink("s", "d/f")}
}

func borrowUpper() []Entry {
	return []Entry{File("d/x", "x"), Whiteout("d/gone"), Opaque("new"), Dir("new")}
}

func borrowWork() []Entry {
	return []Entry{File("d/f", "mine"), Whiteout("s"), File("top", "top"), Whiteout("d/x")}
}

func (s *suite) borrowSame(t *testing.T) {
	lender, st := s.open(t), s.open(t)
	chain := lender.layer("upper", lender.layer("base", nil, borrowBase()...), borrowUpper()...)
	own := st.layer("upper", st.layer("base", nil, borrowBase()...), borrowUpper()...)
	st.layer("own", own, borrowWork()...)
	require.NoError(t, st.d.Close())
	st = s.openAt(t, st.dir)
	st.borrow(lender)

	st.layer("on", lent(chain...), borrowWork()...)
	st.requireTree(st.tree("own"), "on", "on borrowed layers")
	require.Equal(t, st.diff("own"), st.diff("on"), "the changes on borrowed layers")
	st.createView("look", lent(chain...)...)
	for _, id := range []driver.ID{"L.upper", "look"} {
		st.requireTree(lender.tree("upper"), id, "borrowed")
	}
	st.createView("lowest", "L.base")
	st.requireTree(lender.tree("base"), "lowest", "borrowed, alone")
	require.Equal(t, lender.diff("upper"), st.diff("L.upper"), "the changes of a borrowed layer")
	st.requireRecord(driver.Record{Sealed: true, Parents: lent("base")}, "L.upper")
	theirs, err := lender.d.Usage(t.Context(), "upper")
	require.NoError(t, err)
	ours, err := st.d.Usage(t.Context(), "L.upper")
	require.NoError(t, err)
	require.Equal(t, theirs, ours)
	if st.can.mounts && st.props.MountsWritable {
		st.create("work", lent(chain...)...)
		st.edit("work", Write("d/f", "written"), Rename("d/x", "d/y"), Remove("s"))
		st.create("work2", own...)
		st.edit("work2", Write("d/f", "written"), Rename("d/x", "d/y"), Remove("s"))
		require.Equal(t, st.diff("work2"), st.diff("work"), "what was written over borrowed layers")
	}
	ids, err := st.d.Layers(t.Context())
	require.NoError(t, err)
	for _, id := range ids {
		require.NotContains(t, string(id), ".", "borrowed layers are not listed")
	}
}

func (s *suite) borrowReadOnly(t *testing.T) {
	lender, st := s.open(t), s.open(t)
	chain := lent(lender.layer("base", nil, borrowBase()...)...)
	lender.create("open")
	before := Inventory(t, lender.dir)
	st.borrow(lender)
	st.layer("mine", chain, borrowWork()...)
	st.createView("look", chain...)
	st.requireTree(lender.tree("base"), "look", "borrowed")
	if r, ok := st.d.(driver.Rebaser); ok {
		require.ErrorIs(t, r.Rebase(t.Context(), "L.base", nil), driver.ErrReadOnly)
	}
	require.ErrorIs(t, st.d.Remove(t.Context(), "L.base"), driver.ErrReadOnly)
	require.ErrorIs(t, st.apply("L.base", File("new", "")), driver.ErrReadOnly)
	require.ErrorIs(t, st.d.Seal(t.Context(), "L.base"), driver.ErrReadOnly)
	require.ErrorIs(t, st.d.Create(t.Context(), "L.new", nil, driver.CreateOptions{}), driver.ErrReadOnly)
	if r, ok := st.d.(driver.Recorder); ok {
		require.ErrorIs(t, r.Note(t.Context(), "L.base", []byte(`{}`)), driver.ErrReadOnly)
		require.ErrorIs(t, r.NoteNow(t.Context(), "L.base", []byte(`{}`)), driver.ErrReadOnly)
	}
	if r, ok := st.d.(driver.Replacer); ok {
		require.ErrorIs(t, r.Replace(t.Context(), "L.base", "mine"), driver.ErrReadOnly)
		require.ErrorIs(t, r.Replace(t.Context(), "mine", "L.base"), driver.ErrReadOnly)
	}
	require.ErrorIs(t, st.d.Create(t.Context(), "on", []driver.ID{"L.open"}, driver.CreateOptions{}), driver.ErrNotSealed)
	require.NoError(t, st.d.Cleanup(t.Context()))
	require.Equal(t, before, Inventory(t, lender.dir), "every name, attribute and time of the other store")
}

func (s *suite) borrowMissing(t *testing.T) {
	lender, st := s.open(t), s.open(t)
	chain := lent(lender.layer("base", nil, borrowBase()...)...)
	st.borrow(lender)
	st.layer("mine", chain, borrowWork()...)
	want := st.tree("mine")
	away := lender.dir + "-away"
	require.NoError(t, os.Rename(lender.dir, away))
	_, err := st.d.Usage(t.Context(), "L.base")
	require.ErrorIs(t, err, driver.ErrNotFound)
	_, err = st.d.View(t.Context(), "L.base")
	require.ErrorIs(t, err, driver.ErrNotFound)
	require.ErrorIs(t, st.d.Create(t.Context(), "on", chain, driver.CreateOptions{}), driver.ErrNotFound)
	require.NoError(t, os.Rename(away, lender.dir))
	st.requireTree(want, "mine", "when the other store is back")

	st = st.openAgain() // without the other store
	_, err = st.d.Mount(t.Context(), "L.base", driver.MountOptions{})
	require.ErrorIs(t, err, driver.ErrNotFound)
	ids, err := st.d.Layers(t.Context())
	require.NoError(t, err)
	require.Equal(t, []driver.ID{"mine"}, ids)
	require.NoError(t, st.d.Remove(t.Context(), "mine"))
}

func (s *suite) borrowHostile(t *testing.T) {
	lender, st := s.open(t), s.open(t)
	lender.layer("top", lender.layer("base", nil, borrowBase()...), borrowUpper()...)
	secret := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(secret, "secret"), []byte("secret"), 0o600))
	st.borrow(lender)
	borrower := optional[driver.Borrower](st)
	for _, prefix := range []string{"", "..", "a.b", "a/b", ".a", strings.Repeat("x", 200)} {
		require.Error(t, borrower.Borrow(prefix, lender.dir, foundBy(lender)), prefix)
	}
	for _, id := range []driver.ID{"L.", "L..", "L...", "L..new-1", "L.../x", "X.base"} {
		_, err := st.d.View(t.Context(), id)
		require.Error(t, err, string(id))
		require.Error(t, st.d.Create(t.Context(), "on", []driver.ID{id}, driver.CreateOptions{}), string(id))
	}
	unusable := func(what string) {
		t.Helper()
		for _, id := range []driver.ID{"L.top"} {
			_, err := st.d.View(t.Context(), id)
			require.Error(t, err, what)
			_, err = st.d.Mount(t.Context(), id, driver.MountOptions{})
			require.Error(t, err, what)
			require.Error(t, st.d.Create(t.Context(), "on", append([]driver.ID{id}, "L.base"), driver.CreateOptions{}), what)
		}
	}
	layer := filepath.Join(lender.dir, "top")
	record := filepath.Join(layer, "layer.json")
	sound, err := os.ReadFile(record)
	require.NoError(t, err)
	for what, text := range map[string]string{
		"no JSON": "{", "another version": `{"version":9,"sealed":true}`, "not sealed": `{"version":1}`,
		"a parent outside": `{"version":1,"sealed":true,"parents":["../../x"]}`, "a parent of a third store": `{"version":1,"sealed":true,"parents":["L.base"]}`,
		"many parents": `{"version":1,"sealed":true,"parents":[` + strings.Repeat(`"base",`, 5000) + `"base"]}`,
		"endless":      `{"version":1,"sealed":true}` + strings.Repeat(" ", 5<<20),
	} {
		require.NoError(t, os.WriteFile(record, []byte(text), 0o600))
		unusable(what)
	}
	require.NoError(t, os.Remove(record))
	require.NoError(t, syscall.Mkfifo(record, 0o600))
	unusable("a record that is a FIFO")
	require.NoError(t, os.Remove(record))
	require.NoError(t, os.WriteFile(filepath.Join(secret, "record"), sound, 0o600))
	require.NoError(t, os.Symlink(filepath.Join(secret, "record"), record))
	unusable("a record that is a link")
	require.NoError(t, os.Remove(record))
	require.NoError(t, os.WriteFile(record, sound, 0o600))

	entries, err := os.ReadDir(layer)
	require.NoError(t, err)
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(layer, e.Name())
		require.NoError(t, os.Rename(dir, dir+".old"))
		require.NoError(t, os.Symlink(secret, dir))
		unusable("a tree that is a link")
		require.NoError(t, os.Remove(dir))
		require.NoError(t, os.Rename(dir+".old", dir))
	}
	st.createView("sound", "L.top", "L.base")
	st.requireTree(lender.tree("top"), "sound", "put right again")

	require.NoError(t, os.Rename(layer, layer+".old"))
	require.NoError(t, os.Symlink(layer+".old", layer))
	unusable("a layer that is a link")
	require.NoError(t, os.Remove(layer))
	require.NoError(t, os.Rename(layer+".old", layer))
}
