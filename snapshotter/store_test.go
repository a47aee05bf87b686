package snapshotter

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// newStore makes an empty store on a fake disk and closes it.
func newStore(t *testing.T) (root string, disk *fakeDisk) {
	t.Helper()
	root, disk = filepath.Join(memDir(t), "store"), newFakeDisk()
	s, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return root, disk
}

// contents reads every regular file in a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		files[path] = string(raw)
		return err
	}))
	return files
}

func TestANewStoreIsPrivateAndNamesItsDriver(t *testing.T) {
	root, _ := newStore(t)
	info, err := os.Stat(root)
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
	raw, err := os.ReadFile(filepath.Join(root, "layerkeep.json"))
	require.NoError(t, err)
	var head map[string]any
	require.NoError(t, json.Unmarshal(raw, &head))
	require.Len(t, head["id"], 26)
	delete(head, "id")
	delete(head, "generation")
	require.Equal(t, map[string]any{"format": 1.0, "driver": "fake"}, head)
}

func TestAnEmptyDirectoryBecomesAStoreAndPrivate(t *testing.T) {
	root := memDir(t)
	require.NoError(t, os.Chmod(root, 0o755)) //nolint:gosec // the test needs this mode
	s := openAt(t, root, Options{open: newFakeDisk().open})
	info, err := os.Stat(s.Root())
	require.NoError(t, err)
	require.Equal(t, fs.ModeDir|0o700, info.Mode())
}

func TestTheRootIsNamedWithoutSymbolicLinks(t *testing.T) {
	target := memDir(t)
	link := filepath.Join(memDir(t), "link")
	require.NoError(t, os.Symlink(target, link))
	s := openAt(t, link, Options{open: newFakeDisk().open})
	want, err := filepath.EvalSymlinks(target)
	require.NoError(t, err)
	require.Equal(t, want, s.Root())
}

func TestAStoreRemembersItsDriverAndWhatItHolds(t *testing.T) {
	root, disk := newStore(t)
	s := openAt(t, root, Options{open: disk.open, Driver: "fake"})
	commit(t, s, "base", "", "content")
	require.NoError(t, s.Close())

	asked := ""
	again := openAt(t, root, Options{open: func(ctx context.Context, root, name string, o driver.Options) (driver.Driver, error) {
		asked = name
		return disk.open(ctx, root, name, o)
	}})
	require.Equal(t, "fake", asked)
	require.Equal(t, "content", diffOf(t, again, "base"))
}

func TestAStoreThatCannotBeOpenedIsLeftAsItIs(t *testing.T) {
	header := func(text string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			require.NoError(t, os.WriteFile(filepath.Join(root, headerName), []byte(text), 0o600))
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, root string)
		opts   Options
		want   error
	}{
		"another driver":     {func(*testing.T, string) {}, Options{Driver: "other"}, ErrOtherDriver},
		"a newer format":     {header(`{"format": 2, "driver": {"name": "future"}}`), Options{}, ErrNewerStore},
		"a broken header":    {header(`{"format": 1, "dri`), Options{}, ErrDamaged},
		"an empty header":    {header(``), Options{}, ErrDamaged},
		"a driver not named": {header(`{"format": 1}`), Options{}, ErrDamaged},
		"a driver not known": {header(`{"format": 1, "driver": "future"}`), Options{}, driver.ErrUnsupported},
		"no metadata":        {func(t *testing.T, root string) { require.NoError(t, os.Remove(filepath.Join(root, metaName))) }, Options{}, ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			root, disk := newStore(t)
			c.change(t, root)
			before := contents(t, root)
			c.opts.open = disk.open

			_, err := Open(t.Context(), root, c.opts)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, root)
			require.Equal(t, before, contents(t, root))

			// The lock was released.
			lock, err := lockStore(t.Context(), root, "", -1)
			require.NoError(t, err)
			require.NoError(t, lock.release())
		})
	}
}

func TestARootThatIsSomethingElseIsRefusedAndNotTouched(t *testing.T) {
	dir := memDir(t)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o644)) //nolint:gosec // the test needs this mode
	require.NoError(t, os.Chmod(dir, 0o755))                      //nolint:gosec // the test needs this mode
	for name, root := range map[string]string{
		"a file":                file,
		"below a file":          filepath.Join(file, "store"),
		"deep below a file":     filepath.Join(file, "a", "b"),
		"a directory of others": dir,
		"nothing":               "",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), root, Options{open: newFakeDisk().open})
			require.ErrorIs(t, err, ErrNotStore)
			require.Equal(t, map[string]string{file: "mine"}, contents(t, dir))
			info, err := os.Stat(dir)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o755), info.Mode().Perm())
		})
	}
}

func TestAStoreThatAnInterruptedFirstOpenHasLeftIsTakenOver(t *testing.T) {
	root, disk := newStore(t)
	require.NoError(t, os.Remove(filepath.Join(root, headerName)))
	require.NoError(t, os.WriteFile(filepath.Join(root, ".tmp-123"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(root, "lost+found"), 0o700))
	s := openAt(t, root, Options{open: disk.open})
	require.Empty(t, namesOf(t, s))
	require.NoFileExists(t, filepath.Join(root, ".tmp-123"))
}

func TestOpeningRemovesWhatKilledProcessesWereWriting(t *testing.T) {
	root, disk := newStore(t)
	stale := []string{".tmp-123", rebuiltName, ".tmp-compacted"}
	for _, name := range stale {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte("half"), 0o600))
	}
	s, err := Open(t.Context(), root, Options{open: disk.open, ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	for _, name := range stale {
		require.FileExists(t, filepath.Join(root, name), "reading a store removes nothing")
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, ".tmp-notes"), nil, 0o600))

	openAt(t, root, Options{open: disk.open})
	for _, name := range stale {
		require.NoFileExists(t, filepath.Join(root, name))
	}
	require.FileExists(t, filepath.Join(root, ".tmp-notes"), "nothing of ours has this name")
}

func TestTheHeaderIsJSONThatOlderVersionsCanRefuse(t *testing.T) {
	root, _ := newStore(t)
	raw, err := os.ReadFile(filepath.Join(root, headerName))
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(raw, &fields))
	require.InDelta(t, 1, fields["format"], 0)
}
