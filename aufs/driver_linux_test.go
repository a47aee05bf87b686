package aufs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// openDriver opens a driver on dir, or skips the test if the driver does not
// work there.
func openDriver(t *testing.T, dir string) *aufs {
	t.Helper()
	d, err := New(t.Context(), dir, driver.Options{})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skipf("aufs does not work here: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d.(*aufs)
}

// layer makes a sealed layer of entries over parents.
func layer(t *testing.T, d driver.Driver, id driver.ID, parents []driver.ID, entries ...Entry) []driver.ID {
	t.Helper()
	require.NoError(t, d.Create(t.Context(), id, parents, driver.CreateOptions{}))
	_, err := d.ApplyDiff(t.Context(), id, bytes.NewReader(Layer(t, entries...)), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, d.Seal(t.Context(), id))
	return append([]driver.ID{id}, parents...)
}

func TestALayerLiesInTheClassicLayout(t *testing.T) {
	dir := t.TempDir()
	d := openDriver(t, dir)
	chain := layer(t, d, "base", nil, Dir("d"), File("d/x", "x"), File("f", "f"))
	chain = layer(t, d, "mid", chain, File("f", "again"))
	layer(t, d, "top", chain, Whiteout("d/x"), Whiteout("f"), Dir("o"), Opaque("o"))

	text, err := os.ReadFile(dir + "/layers/top")
	require.NoError(t, err)
	require.Equal(t, "mid\nbase\n", string(text))
	require.DirExists(t, dir+"/mnt/top")
	for path, mode := range map[string]os.FileMode{
		".wh..wh.aufs": 0o444, ".wh..wh.orph": os.ModeDir | 0o700, ".wh..wh.plnk": os.ModeDir | 0o700,
		"d/.wh.x": 0o444, ".wh.f": 0o444,
	} {
		info, err := os.Lstat(filepath.Join(dir, "diff/top", path))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), path)
	}
	require.NoFileExists(t, dir+"/diff/top/f")
}

func TestBookkeepingIsNotCountedAndEmptiedWhenALayerIsSealed(t *testing.T) {
	dir := t.TempDir()
	d := openDriver(t, dir)
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
	before, err := d.Usage(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, int64(1), before.Inodes, "the root alone")
	branch := dir + "/diff/a"
	require.NoError(t, os.WriteFile(branch+"/.wh..wh.orph/0000", make([]byte, 1<<20), 0o600))
	require.NoError(t, os.MkdirAll(branch+"/.wh..wh.orph/dir/dir", 0o700))
	require.NoError(t, os.WriteFile(branch+"/.wh..wh.plnk/12.12", make([]byte, 1<<20), 0o600))
	after, err := d.Usage(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, before, after)

	info, err := os.Lstat(branch)
	require.NoError(t, err)
	require.NoError(t, d.Seal(t.Context(), "a"))
	again, err := os.Lstat(branch)
	require.NoError(t, err)
	require.Equal(t, info.ModTime(), again.ModTime(), "the root's times are its layer's")
	for _, name := range []string{".wh..wh.orph", ".wh..wh.plnk"} {
		left, err := os.ReadDir(filepath.Join(branch, name))
		require.NoError(t, err)
		require.Empty(t, left, name)
	}
	sealed, err := d.Usage(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, before, sealed)
}

func TestSealingFollowsNoLinkInPlaceOfBookkeeping(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(outside+"/precious", nil, 0o600))
	d := openDriver(t, dir)
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
	for _, name := range []string{".wh..wh.orph", ".wh..wh.plnk"} {
		path := filepath.Join(dir, "diff/a", name)
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Symlink(outside, path))
	}
	require.NoError(t, d.Seal(t.Context(), "a"))
	require.FileExists(t, outside+"/precious")
}

func TestALayerOfAnotherEngineIsASealedLayer(t *testing.T) {
	dir := t.TempDir()
	foreignLayer(t, dir, "base")
	foreignLayer(t, dir, "top", "base")
	require.NoError(t, os.WriteFile(dir+"/diff/top/.wh.of-base", nil, 0o444))
	for i, id := range []string{"base", "top"} { // the clock of the file system is too coarse to order the files
		require.NoError(t, os.Chtimes(dir+"/diff/"+id, time.Time{}, time.Unix(int64(i), 0)))
	}
	d := openDriver(t, dir)
	ctx := t.Context()

	layers, err := d.Layers(ctx)
	require.NoError(t, err)
	require.Empty(t, layers)
	require.NoError(t, d.Seal(ctx, "top"), "Seal is idempotent")
	_, err = d.ApplyDiff(ctx, "top", strings.NewReader(""), driver.ApplyOptions{})
	require.ErrorIs(t, err, driver.ErrSealed)
	require.ErrorIs(t, d.Create(ctx, "top", nil, driver.CreateOptions{}), driver.ErrExists)
	require.Equal(t, []string{"M .", "D of-base", "A of-top"}, changesOf(t, d, "top"))
	from, err := d.Provider(ctx, "top", "of-top")
	require.NoError(t, err)
	require.Equal(t, driver.ID("top"), from)
	usage, err := d.Usage(ctx, "base")
	require.NoError(t, err)
	require.Equal(t, int64(2), usage.Inodes)
	require.NoError(t, d.Create(ctx, "view", []driver.ID{"top", "base"}, driver.CreateOptions{View: true}))
	require.Empty(t, changesOf(t, d, "view"))

	layer(t, d, "ours", []driver.ID{"top", "base"}, File("n", "n"))
	require.Equal(t, []string{"A n"}, changesOf(t, d, "ours"))
	require.NoError(t, d.Cleanup(ctx))
	require.Equal(t, []driver.ID{"base", "top"}, foreignIDs(t, d.store), "Cleanup leaves them alone")
	for _, id := range []driver.ID{"ours", "view", "top"} {
		require.NoError(t, d.Remove(ctx, id))
	}
	require.Equal(t, []driver.ID{"base"}, foreignIDs(t, d.store))
	require.NoDirExists(t, dir+"/diff/top")
}

// changesOf lists changes as "M path".
func changesOf(t *testing.T, d driver.Driver, id driver.ID) []string {
	t.Helper()
	var list []string
	for c, err := range driver.Changes(t.Context(), d, id, nil) {
		require.NoError(t, err)
		list = append(list, fmt.Sprintf("%s %s", c.Kind, c.Path))
	}
	return list
}

func TestAChainEndsWhereAnAUFSWould(t *testing.T) {
	d := openDriver(t, t.TempDir())
	var chain []driver.ID
	for i := range maxParents {
		id := driver.ID(fmt.Sprint("l", i))
		require.NoError(t, d.Create(t.Context(), id, chain, driver.CreateOptions{}))
		require.NoError(t, d.Seal(t.Context(), id))
		chain = append([]driver.ID{id}, chain...)
	}
	require.NoError(t, d.Create(t.Context(), "last", chain, driver.CreateOptions{}))
	require.ErrorIs(t, d.Seal(t.Context(), "last"), driver.ErrTooManyLayers)
	// A layer of another engine may have one parent more.
	meta, err := d.store.records.Load("last")
	require.NoError(t, err)
	meta.Sealed = true
	require.NoError(t, d.store.records.Save("last", meta))
	chain = append([]driver.ID{"last"}, chain...)
	require.Len(t, chain, 127, "branches of one aufs")
	require.ErrorIs(t, d.Create(t.Context(), "more", chain, driver.CreateOptions{}), driver.ErrTooManyLayers)
	require.NoError(t, d.Create(t.Context(), "view", chain, driver.CreateOptions{View: true}), "which has no branch")
	require.ErrorIs(t, d.Create(t.Context(), "view2", append(chain, "x"), driver.CreateOptions{View: true}), driver.ErrUnsupported)
}

func TestAStoreIsMadeWithTheDirectoriesAboveIt(t *testing.T) {
	openDriver(t, t.TempDir()) // skips the test if the driver does not work here at all
	openDriver(t, filepath.Join(t.TempDir(), "a/b/aufs"))
}

func TestAStoreWhoseDirectoriesLeadElsewhereIsRefusedAndLeftAsItIs(t *testing.T) {
	openDriver(t, t.TempDir()) // skips the test if the driver does not work here at all
	for _, name := range []string{"layers", "diff", "mnt", ".layerkeep"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(dir, name)))
			_, err := New(t.Context(), dir, driver.Options{})
			require.ErrorIs(t, err, ownfiles.ErrUnsafe)
			require.ErrorContains(t, err, name)
			require.Equal(t, []string{"", "/" + name}, places(t, dir))
		})
	}
}

func TestACancelledOpeningLeavesNothing(t *testing.T) {
	openDriver(t, t.TempDir())
	dir := t.TempDir()
	s := openTest(t, dir)
	require.NoError(t, s.announce("half", layerdir.Meta{}))
	require.NoError(t, s.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := New(ctx, dir, driver.Options{})
	require.ErrorIs(t, err, context.Canceled)
	openDriver(t, dir)
	require.NoDirExists(t, dir+"/.layerkeep/layers/half")
}

func TestCleanupRemovesWhatAKilledProcessWasWritingBesideParents(t *testing.T) {
	dir := t.TempDir()
	d := openDriver(t, dir)
	layer(t, d, "base", nil, File("f", "f"))
	left := filepath.Join(dir, layersDir, ".tmp-1")
	inRecord := d.store.records.Path("base", ".tmp-2")
	for _, path := range []string{left, inRecord} {
		require.NoError(t, os.WriteFile(path, nil, 0o600))
	}
	require.NoError(t, d.Cleanup(t.Context()))
	require.NoFileExists(t, left)
	require.NoFileExists(t, inRecord)
	require.FileExists(t, filepath.Join(dir, layersDir, "base"))
}
