package aufs

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// sealedChain makes the layer base, the layer top over it, and view, a view of
// top.
func sealedChain(t *testing.T, d driver.Driver) {
	t.Helper()
	apply := func(id driver.ID, parents []driver.ID, entries ...fstest.Entry) {
		require.NoError(t, d.Create(t.Context(), id, parents, driver.CreateOptions{}))
		_, err := d.ApplyDiff(t.Context(), id, bytes.NewReader(fstest.Layer(t, entries...)), driver.ApplyOptions{})
		require.NoError(t, err)
		require.NoError(t, d.Seal(t.Context(), id))
	}
	apply("base", nil, fstest.Dir("d"), fstest.File("d/a", "1"), fstest.File("d/b", "1"), fstest.Link("d/c", "d/b"))
	apply("top", []driver.ID{"base"}, fstest.Whiteout("d/a"), fstest.File("d/e", "2"), fstest.File("d/b", "2"))
	require.NoError(t, d.Create(t.Context(), "view", []driver.ID{"top", "base"}, driver.CreateOptions{View: true}))
}

func TestADriverWithoutAUFSMountsSealedLayersAndViews(t *testing.T) {
	inMemory(t)
	for name, f := range map[string]driver.Fallbacks{"overlay": {}, "merged copy": {NoOverlay: true}} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			d, err := New(t.Context(), t.TempDir()+"/aufs", driver.Options{Fallbacks: f, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, d.Close()) })
			if d.Properties().MountsWritable {
				t.Skip("this kernel has aufs")
			}
			sealedChain(t, d)
			before := stateOf(t, d)
			for _, id := range []driver.ID{"base", "top", "view"} {
				shows(t, d, id)
			}
			require.Equal(t, before, stateOf(t, d), "neither usage nor diffs have changed")
			said := strings.Count(log.String(), "for reading")
			require.Positive(t, said)
			require.NoError(t, d.Cleanup(t.Context()))
			shows(t, d, "view")
			require.Equal(t, said, strings.Count(log.String(), "for reading"), "it was made once")
		})
	}
}

// stateOf returns everything that a translation must not change.
func stateOf(t *testing.T, d driver.Driver) (state []any) {
	t.Helper()
	for _, id := range []driver.ID{"base", "top"} {
		var stream bytes.Buffer
		_, err := driver.Diff(t.Context(), d, id, &stream, driver.DiffOptions{})
		require.NoError(t, err)
		usage, err := d.Usage(t.Context(), id)
		require.NoError(t, err)
		state = append(state, usage, stream.String())
	}
	return state
}

// shows mounts a layer and compares the mount with the layer's view. It checks
// that the layer cannot be removed while it is mounted.
func shows(t *testing.T, d driver.Driver, id driver.ID) {
	t.Helper()
	v, err := d.View(t.Context(), id)
	require.NoError(t, err)
	defer v.Close()
	want := fstest.FromView(t, v)
	mounts, err := d.Mount(t.Context(), id, driver.MountOptions{})
	require.NoError(t, err)
	require.NoError(t, mount.WithTemp(t.Context(), mounts, func(root string) error {
		fstest.RequireEqual(t, want, fstest.FromPath(t, root), string(id))
		require.Error(t, os.WriteFile(root+"/new", nil, 0o600))
		if id == "top" {
			require.ErrorIs(t, d.Remove(t.Context(), id), driver.ErrBusy)
			fstest.RequireEqual(t, want, fstest.FromPath(t, root), "after it was not removed")
		}
		return nil
	}))
}

func TestALayerThatTakesTheIDOfARemovedOneIsTranslatedAnew(t *testing.T) {
	inMemory(t)
	d, err := New(t.Context(), t.TempDir()+"/aufs", driver.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	for _, body := range []string{"first", "second"} {
		require.NoError(t, d.Create(t.Context(), "x", nil, driver.CreateOptions{}))
		_, err := d.ApplyDiff(t.Context(), "x", bytes.NewReader(fstest.Layer(t, fstest.File("f", body))), driver.ApplyOptions{})
		require.NoError(t, err)
		require.NoError(t, d.Seal(t.Context(), "x"))
		shows(t, d, "x")
		require.NoError(t, d.Remove(t.Context(), "x"))
	}
}

func TestTrimFreesTranslations(t *testing.T) {
	inMemory(t)
	root := t.TempDir() + "/aufs"
	open := func() driver.Driver {
		d, err := New(t.Context(), root, driver.Options{})
		require.NoError(t, err)
		return d
	}
	d := open()
	if d.Properties().MountsWritable {
		t.Skip("this kernel has aufs")
	}
	sealedChain(t, d)
	shows(t, d, "view")
	require.NoError(t, d.Remove(t.Context(), "view"))
	require.NoError(t, d.Close())

	d = open()
	entries := func() int {
		n := 0
		for _, s := range d.(*aufs).mounts.translator.stores() {
			ids, err := s.List()
			require.NoError(t, err)
			n += len(ids)
		}
		return n
	}
	require.NoError(t, d.Cleanup(t.Context()))
	require.Positive(t, entries())
	require.NoError(t, d.(driver.Trimmer).Trim(t.Context()))
	require.Zero(t, entries())
	require.NoError(t, d.Close())
}
