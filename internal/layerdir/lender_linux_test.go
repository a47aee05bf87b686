package layerdir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// lentStore makes a store that borrows the layers of another directory as
// "x.NAME". It returns the store and that directory.
func lentStore(t *testing.T) (s *Store, dir string) {
	t.Helper()
	s, dir = open(t), filepath.Join(t.TempDir(), "layers")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, s.Borrow("x", dir, "tree"))
	return s, dir
}

// lend makes a layer with the given record in another store.
func lend(t *testing.T, dir, name, record string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, name, "tree"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name, RecordName), []byte(record), 0o600))
}

func TestOnlyADirectoryIsBorrowedFrom(t *testing.T) {
	s, dir := open(t), t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Symlink(dir, link))
	for _, path := range []string{file, link} {
		require.ErrorIs(t, s.Borrow("x", path, "tree"), unix.ENOTDIR)
	}
	for _, prefix := range []string{"", "x.y", "../x", ".x"} {
		require.ErrorIs(t, s.Borrow(prefix, dir, "tree"), driver.ErrInvalidID, prefix)
	}
	require.False(t, s.Lent("x.a"))
	require.NoError(t, s.Borrow("x", filepath.Join(dir, "none"), "tree"))
	require.True(t, s.Lent("x.a"))
	for _, id := range []driver.ID{"x", "y.a", "x.", "x.../a"} {
		require.False(t, s.Lent(id), id)
	}
	_, err := s.Load("x.a")
	require.ErrorIs(t, err, driver.ErrNotFound)
}

func TestALentLayerIsReadAsItIsHere(t *testing.T) {
	s, dir := lentStore(t)
	lend(t, dir, "base", `{"version":1,"sealed":true,"escaped":true}`)
	lend(t, dir, "top", `{"version":1,"sealed":true,"metacopy":true,"parents":["base"],"size":7,"usage":{"bytes":5,"inodes":2},"note":"n"}`)
	m, err := s.Load("x.top")
	require.NoError(t, err)
	require.Equal(t, Meta{
		Version: 1, Sealed: true, Metacopy: true, Parents: []driver.ID{"x.base"},
		Usage: &driver.Usage{Bytes: 5, Inodes: 2}, Note: []byte(`"n"`),
	}, m)
	has, err := s.CheckParents([]driver.ID{"x.top", "x.base"})
	require.NoError(t, err)
	require.Equal(t, Inherited{Metacopy: true, Escaped: true}, has)
	require.Equal(t, filepath.Join(dir, "top", "tree"), s.Path("x.top", "tree"))
	for name, usage := range map[string]string{"bytes": `{"bytes":-1,"inodes":1}`, "inodes": `{"bytes":1,"inodes":-1}`} {
		lend(t, dir, name, `{"version":1,"sealed":true,"usage":`+usage+`}`)
		m, err := s.Load(driver.ID("x." + name))
		require.NoError(t, err)
		require.Nil(t, m.Usage, "a usage below zero is not believed")
	}
	lend(t, dir, "empty", `{"version":1,"sealed":true,"usage":{"bytes":0,"inodes":0}}`)
	m, err = s.Load("x.empty")
	require.NoError(t, err)
	require.Equal(t, &driver.Usage{}, m.Usage)
}

func TestALentLayerIsNeverChanged(t *testing.T) {
	s, dir := lentStore(t)
	lend(t, dir, "a", `{"version":1}`)
	_, _, staging := s.Staging("x.a")
	for name, err := range map[string]error{
		"create": s.Create("x.b", Meta{}, func(string) error { return nil }),
		"remove": s.Remove("x.a"), "idle": s.RemoveIdle("x.a"), "save": s.Save("x.a", Meta{}),
		"renew": s.Renew("x.a", Meta{}), "note": s.Note("x.a", nil), "note now": s.NoteNow("x.a", nil), "tear": s.tear("x.a"), "staging": staging,
		"merge": s.Merging("x.a", false, func() error { return nil }), "become": s.Become("x.a", dir),
		"seal": s.Seal(t.Context(), "x.a", "tree", func(*Meta) error { return nil }), "replace": s.Replace("x.a", "b"),
	} {
		require.ErrorIs(t, err, driver.ErrReadOnly, name)
		require.ErrorContains(t, err, "layer x.", name)
	}
}

func TestARecordOfAnotherStoreIsRefused(t *testing.T) {
	s, dir := lentStore(t)
	lend(t, dir, "base", `{"version":1,"sealed":true}`)
	parents := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"base",`, n), ",") }
	for record, want := range map[string]struct {
		kind error
		says string
	}{
		`{"version":1}`: {driver.ErrNotSealed, "x.a"},
		`{"version":1,"sealed":true,"view":true}`: {driver.ErrNotSealed, "x.a"},
		`{"version":2,"sealed":true}`:             {driver.ErrUnsupported, "version 2"},
		`{`:                                       {nil, RecordName},
		`{"version":1,"sealed":true,"parents":["../base"]}`:                                  {driver.ErrInvalidID, "parent"},
		`{"version":1,"sealed":true,"parents":["y.base"]}`:                                   {driver.ErrUnsupported, "y.base"},
		fmt.Sprintf(`{"version":1,"sealed":true,"parents":[%s]}`, parents(maxLentParents+1)): {nil, fmt.Sprint(maxLentParents)},
		strings.Repeat(" ", maxLentRecord+1):                                                 {unix.EFBIG, RecordName},
	} {
		lend(t, dir, "a", record)
		_, err := s.Load("x.a")
		require.ErrorContains(t, err, want.says)
		if want.kind != nil {
			require.ErrorIs(t, err, want.kind)
		}
	}
	lend(t, dir, "a", fmt.Sprintf(`{"version":1,"sealed":true,"parents":[%s]}`, parents(maxLentParents)))
	m, err := s.Load("x.a")
	require.NoError(t, err)
	require.Len(t, m.Parents, maxLentParents)

	path := filepath.Join(dir, "a", RecordName)
	require.NoError(t, os.Remove(path))
	_, err = s.Load("x.a")
	require.ErrorIs(t, err, driver.ErrNotFound)
	require.NoError(t, unix.Mkfifo(path, 0o600))
	_, err = s.Load("x.a")
	require.ErrorIs(t, err, unix.EFBIG)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink("../base/"+RecordName, path))
	_, err = s.Load("x.a")
	require.ErrorIs(t, err, unix.ELOOP)
}

func TestADirectoryOfAnotherStoreThatIsALinkIsRefused(t *testing.T) {
	s, dir := lentStore(t)
	require.NoError(t, s.CheckLent("own"))
	require.ErrorIs(t, s.CheckLent("own", "x.a"), driver.ErrNotFound)
	lend(t, dir, "a", `{"version":1,"sealed":true}`)
	require.NoError(t, s.CheckLent("own", "x.a"))
	for _, path := range []string{filepath.Join(dir, "a", "tree"), filepath.Join(dir, "a"), dir} {
		aside := path + ".aside"
		require.NoError(t, os.Rename(path, aside))
		require.ErrorIs(t, s.CheckLent("x.a"), driver.ErrNotFound)
		require.NoError(t, os.Symlink(aside, path))
		err := s.CheckLent("x.a")
		require.ErrorIs(t, err, unix.ENOTDIR)
		require.ErrorContains(t, err, path)
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Rename(aside, path))
	}
}
