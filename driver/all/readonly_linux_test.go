package all_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// A store is read the same way whether or not something is known of this
// kernel, and however that mounts overlays.
func TestADriverThatReadsAloneWritesNothing(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	for _, b := range all.Backends() {
		for _, known := range []bool{true, false} {
			for _, way := range []mount.Way{0, mount.WayStrings, mount.WayMount2} {
				t.Run(fmt.Sprintf("%s/known=%v/%v", b.Name, known, way), func(t *testing.T) {
					dir := alltest.Place(t, t.TempDir(), b.Name)
					s := readStore{root: filepath.Join(dir, b.Name), backend: b}
					opts := driver.Options{Fallbacks: driver.Fallbacks{MountWay: way}}
					found := s.fill(t, opts)
					opts.Existing, opts.ReadOnly = true, true
					if known {
						opts.Known = found
					}
					before := fstest.Inventory(t, s.root)
					s.read(t, opts)
					require.Equal(t, before, fstest.Inventory(t, s.root))
				})
			}
		}
	}
}

type readStore struct {
	root    string
	backend all.Backend
	// diff is that of "top"; shown what is mounted of "view".
	diff  []byte
	shown fstest.Tree
	// writable: "top" can be mounted.
	writable bool
}

// fill makes the layers "base", sealed, and "top" and "view" on it.
func (s *readStore) fill(t *testing.T, opts driver.Options) json.RawMessage {
	t.Helper()
	ctx := t.Context()
	d, err := s.backend.New(ctx, s.root, opts)
	require.NoError(t, err)
	apply := func(id driver.ID, layer []byte) {
		_, err := d.ApplyDiff(ctx, id, bytes.NewReader(layer), driver.ApplyOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, d.Create(ctx, "base", nil, driver.CreateOptions{}))
	apply("base", fstest.Layer(t, fstest.Dir("d"), fstest.File("d/f", "text"), fstest.File("gone", "x")))
	require.NoError(t, d.Seal(ctx, "base"))
	require.NoError(t, d.Create(ctx, "top", []driver.ID{"base"}, driver.CreateOptions{}))
	apply("top", fstest.Layer(t, fstest.File("d/new", "mine"), fstest.Whiteout("gone")))
	require.NoError(t, d.Create(ctx, "view", []driver.ID{"base"}, driver.CreateOptions{View: true}))
	s.diff, s.writable = diffOf(t, d, "top"), d.Properties().MountsWritable
	s.shown = s.mounted(t, d, "view") // which makes what aufs needs for it
	require.NoError(t, d.Close())
	if r, ok := d.(driver.Rememberer); ok {
		return r.Found()
	}
	return nil
}

func diffOf(t *testing.T, d driver.Driver, id driver.ID) []byte {
	t.Helper()
	var out bytes.Buffer
	_, err := driver.Diff(t.Context(), d, id, &out, driver.DiffOptions{})
	require.NoError(t, err)
	return out.Bytes()
}

func (s *readStore) mounted(t *testing.T, d driver.Driver, id driver.ID) (tree fstest.Tree) {
	t.Helper()
	values, err := d.Mount(t.Context(), id, driver.MountOptions{})
	require.NoError(t, err)
	require.NoError(t, mount.WithTemp(t.Context(), values, func(root string) error {
		require.True(t, values[0].ReadOnly)
		tree = fstest.FromPath(t, root)
		return nil
	}))
	return tree
}

// read reads everything, and tries to change everything.
func (s *readStore) read(t *testing.T, opts driver.Options) {
	t.Helper()
	ctx := t.Context()
	d, err := s.backend.New(ctx, s.root, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	require.False(t, d.Properties().MountsWritable)
	require.Equal(t, s.diff, diffOf(t, d, "top"))
	fstest.RequireEqual(t, s.shown, s.mounted(t, d, "view"), "view")
	if s.writable {
		require.Len(t, s.mounted(t, d, "top"), len(s.shown), "a file more, and one less")
	}
	ids, err := d.Layers(ctx)
	require.NoError(t, err)
	require.ElementsMatch(t, []driver.ID{"base", "top", "view"}, ids)
	_, err = d.Usage(ctx, "top")
	require.NoError(t, err)
	for what, change := range map[string]func() error{
		"create":        func() error { return d.Create(ctx, "new", nil, driver.CreateOptions{}) },
		"create a view": func() error { return d.Create(ctx, "new", []driver.ID{"base"}, driver.CreateOptions{View: true}) },
		"apply": func() error {
			_, err := d.ApplyDiff(ctx, "top", bytes.NewReader(fstest.Layer(t)), driver.ApplyOptions{})
			return err
		},
		"seal":    func() error { return d.Seal(ctx, "top") },
		"remove":  func() error { return d.Remove(ctx, "view") },
		"cleanup": func() error { return d.Cleanup(ctx) },
		"rebase": func() error {
			if r, ok := d.(driver.Rebaser); ok {
				return r.Rebase(ctx, "top", []driver.ID{"base"})
			}
			return driver.ErrReadOnly
		},
		"settle": func() error {
			if r, ok := d.(driver.Settler); ok {
				return r.Settle(ctx, "top")
			}
			return driver.ErrReadOnly
		},
		"trim": func() error {
			if r, ok := d.(driver.Trimmer); ok {
				return r.Trim(ctx)
			}
			return driver.ErrReadOnly
		},
	} {
		require.ErrorIs(t, change(), driver.ErrReadOnly, what)
	}
}

func TestAMissingStoreIsReadAsAnEmptyOneAndNotMade(t *testing.T) {
	for _, b := range all.Backends() {
		root := filepath.Join(t.TempDir(), b.Name)
		d, err := b.New(t.Context(), root, driver.Options{Existing: true, ReadOnly: true})
		require.NoError(t, err, b.Name)
		ids, err := d.Layers(t.Context())
		require.NoError(t, err)
		require.Empty(t, ids)
		require.NoError(t, d.Close())
		require.NoDirExists(t, root)
	}
}
