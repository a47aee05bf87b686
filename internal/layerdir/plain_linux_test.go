package layerdir

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// storeOfStranger makes a store with the layers "base" and "top", each with a
// directory "vol/fs".
func storeOfStranger(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "layers")
	s, err := Open(root)
	require.NoError(t, err)
	for _, id := range []driver.ID{"base", "top"} {
		m := Meta{Sealed: true}
		if id == "top" {
			m.Parents = []driver.ID{"base"}
		}
		require.NoError(t, s.Create(id, m, func(dir string) error { return os.MkdirAll(dir+"/vol/fs", 0o700) }))
	}
	require.NoError(t, s.Close())
	return root
}

func openOf(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root)
	require.NoError(t, err)
	s.OwnBelow("vol")
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Before the first use of a layer, its directory and those of its parents are
// checked. A symbolic link there is refused, and the error names it.
func TestALayerThatLeadsElsewhereIsRefused(t *testing.T) {
	for _, place := range []string{"top", "top/vol", "top/vol/fs", "top/layer.json", "base", "base/vol", "base/vol/fs"} {
		for kind, set := range map[string]func(path, moved string) error{
			"link": func(path, moved string) error { return os.Symlink(moved, path) },
			"fifo": func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
		} {
			t.Run(place+"/"+kind, func(t *testing.T) {
				root := storeOfStranger(t)
				path, moved := filepath.Join(root, place), filepath.Join(t.TempDir(), "moved")
				require.NoError(t, os.Rename(path, moved))
				require.NoError(t, set(path, moved))
				_, err := openOf(t, root).Load("top")
				require.ErrorIs(t, err, ownfiles.ErrUnsafe)
				require.ErrorContains(t, err, path+" is a ")
			})
		}
	}
	t.Run("added", func(t *testing.T) {
		root := storeOfStranger(t)
		require.NoError(t, os.Symlink("/", filepath.Join(root, "base/delta")))
		_, err := openOf(t, root).Load("top")
		require.ErrorIs(t, err, ownfiles.ErrUnsafe)
	})
	t.Run("nothing", func(t *testing.T) {
		s := openOf(t, storeOfStranger(t))
		m, err := s.Load("top")
		require.NoError(t, err)
		require.Equal(t, []driver.ID{"base"}, m.Parents)
		require.NoError(t, os.RemoveAll(s.Path("base")))
		_, err = openOf(t, s.Root()).Load("top")
		require.NoError(t, err, "that a parent is missing is for others to find")
	})
}

// IDs in a record are checked before they become parts of paths.
func TestARecordOfAStrangerIsNotBelieved(t *testing.T) {
	root := storeOfStranger(t)
	for _, parent := range []string{"../../etc", "/etc", "a/b", ".", "..", "", ".new-x", strings.Repeat("a", 1000), "a\x00b"} {
		raw, err := json.Marshal(Meta{Version: metaVersion, Sealed: true, Parents: []driver.ID{driver.ID(parent)}})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(root, "top", RecordName), raw, 0o600))
		_, err = openOf(t, root).Load("top")
		require.ErrorIs(t, err, driver.ErrInvalidID, "%q", parent)
	}
	long := fmt.Sprintf(`{"version":1,"note":"%s"}`, strings.Repeat("x", maxRecord))
	require.NoError(t, os.WriteFile(filepath.Join(root, "top", RecordName), []byte(long), 0o600))
	_, err := openOf(t, root).Load("top")
	require.ErrorIs(t, err, ownfiles.ErrTooLong, "it is not read into memory, however long it is")
}
