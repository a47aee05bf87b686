package drivertest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// store is one open driver in a fresh directory.
type store struct {
	*suite
	t   testing.TB
	d   driver.Driver
	dir string
	// parents of the layers that were created, and which of these were sealed or
	// are views.
	parents  map[driver.ID][]driver.ID
	readOnly map[driver.ID]bool

	mu    sync.Mutex
	warns []string
}

// open opens a driver in a fresh directory; it is closed when the test ends.
func (s *suite) open(t testing.TB) *store {
	t.Helper()
	return s.openAt(t, s.freshDir(t))
}

func (s *suite) openAt(t testing.TB, dir string) *store {
	t.Helper()
	d, err := s.New(t.Context(), dir, s.Options)
	require.NoError(t, err, "open the driver")
	st := s.newStore(t, d, dir)
	t.Cleanup(func() { require.NoError(t, d.Close(), "close the driver") })
	return st
}

func (s *suite) newStore(t testing.TB, d driver.Driver, dir string) *store {
	return &store{suite: s, t: t, d: d, dir: dir, parents: map[driver.ID][]driver.ID{}, readOnly: map[driver.ID]bool{}}
}

func (st *store) ctx() context.Context { return st.t.Context() }

func (st *store) create(id driver.ID, parents ...driver.ID) {
	st.t.Helper()
	require.NoError(st.t, st.d.Create(st.ctx(), id, parents, driver.CreateOptions{}), "create %s", id)
	st.remember(id, parents)
}

func (st *store) seal(id driver.ID) {
	st.t.Helper()
	require.NoError(st.t, st.d.Seal(st.ctx(), id), "seal %s", id)
	st.readOnly[id] = true
}

// apply applies entries and remembers the paths that were warned of.
func (st *store) apply(id driver.ID, entries ...fstest.Entry) error {
	st.t.Helper()
	return st.applyBytes(id, fstest.Layer(st.t, entries...), driver.ApplyOptions{})
}

func (st *store) applyBytes(id driver.ID, layer []byte, opts driver.ApplyOptions) error {
	st.t.Helper()
	opts.Warn = func(path, _ string) {
		st.mu.Lock()
		defer st.mu.Unlock()
		st.warns = append(st.warns, path)
	}
	_, err := st.d.ApplyDiff(st.ctx(), id, bytes.NewReader(layer), opts)
	return err
}

func (st *store) mustApply(id driver.ID, entries ...fstest.Entry) {
	st.t.Helper()
	require.NoError(st.t, st.apply(id, entries...), "apply to %s", id)
}

// layer creates, fills and seals a layer.
func (st *store) layer(id driver.ID, parents []driver.ID, entries ...fstest.Entry) []driver.ID {
	st.t.Helper()
	st.create(id, parents...)
	st.mustApply(id, entries...)
	st.seal(id)
	return append([]driver.ID{id}, parents...)
}

// tree reads the view of a layer.
func (st *store) tree(id driver.ID) fstest.Tree {
	st.t.Helper()
	v, err := st.d.View(st.ctx(), id)
	require.NoError(st.t, err, "open the view of %s", id)
	defer v.Close()
	return fstest.FromView(st.t, v)
}

// optional returns the driver as one with an ability that every backend has.
func optional[T any](st *store) T {
	st.t.Helper()
	d, ok := st.d.(T)
	require.True(st.t, ok, "%s is a %T", st.d.Name(), (*T)(nil))
	return d
}

// mounter mounts the way the options ask for.
func (s *suite) mounter() mount.Mounter {
	return mount.Mounter{First: s.Options.Fallbacks.MountWay}
}

// mounted calls fn with the mounted view of a layer.
func (st *store) mounted(id driver.ID, opts driver.MountOptions, fn func(root string) error) {
	st.t.Helper()
	mounts, err := st.d.Mount(st.ctx(), id, opts)
	require.NoError(st.t, err, "mounts of %s", id)
	require.NoError(st.t, st.mounter().WithTemp(st.ctx(), mounts, fn), "with %s mounted", id)
}

// requireTree fails unless the layer shows want through its view and, where
// that can be done, through a mount.
func (st *store) requireTree(want fstest.Tree, id driver.ID, what string) {
	st.t.Helper()
	fstest.RequireEqual(st.t, want, st.tree(id), what+", the view")
	if !st.can.mounts {
		return
	}
	mounts, ok := st.mountsOf(id, driver.MountOptions{})
	if !ok {
		return
	}
	require.NoError(st.t, st.mounter().WithTemp(st.ctx(), mounts, func(root string) error {
		got, err := fstest.ReadPath(root)
		if err == nil {
			fstest.RequireEqual(st.t, want, got, what+", the mount")
		}
		return err
	}), "with %s mounted", id)
}

// requireNothingLeft fails unless the driver has exactly these layers.
func (st *store) requireLayers(want ...driver.ID) {
	st.t.Helper()
	got, err := st.d.Layers(st.ctx())
	require.NoError(st.t, err)
	slices.Sort(got)
	slices.Sort(want)
	require.Equal(st.t, append([]driver.ID{}, want...), append([]driver.ID{}, got...), "the layers on disk")
}

// diff returns the layer that the driver writes.
func (st *store) diff(id driver.ID) []byte {
	st.t.Helper()
	var buf bytes.Buffer
	stats, err := driver.Diff(st.ctx(), st.d, id, &buf, driver.DiffOptions{Warn: func(path, _ string) { st.warns = append(st.warns, path) }})
	require.NoError(st.t, err, "diff of %s", id)
	require.Equal(st.t, int64(buf.Len()), stats.Bytes, "Stats.Bytes")
	return buf.Bytes()
}

// changes returns the changes that the driver lists, as the model has them.
func (st *store) changes(id driver.ID) []model.Change {
	st.t.Helper()
	var changes []model.Change
	for c, err := range driver.Changes(st.ctx(), st.d, id, nil) {
		require.NoError(st.t, err, "changes of %s", id)
		changes = append(changes, asModel(st.t, c))
	}
	return changes
}

// asModel turns a change into the model's form.
func asModel(tb testing.TB, c diff.Change) model.Change {
	tb.Helper()
	m, err := toModel(c)
	require.NoError(tb, err)
	return m
}

func toModel(c diff.Change) (model.Change, error) {
	m := model.Change{Kind: c.Kind, Path: c.Path, Hardlink: c.Hardlink}
	if c.Kind == diff.Delete || c.Hardlink != "" {
		return m, nil
	}
	m.Node = fstest.Node{
		Mode: c.Node.Mode, UID: c.Node.UID, GID: c.Node.GID, Mtime: c.Node.Mtime, Target: c.Linkname, Xattrs: c.Xattrs,
	}
	switch {
	case c.Node.IsDevice():
		m.Node.Rdev = c.Node.Rdev
	case c.Node.IsRegular():
		m.Node.Size = c.Node.Size
		r, err := c.Open()
		if err != nil {
			return m, fmt.Errorf("open /%s: %w", c.Path, err)
		}
		defer r.Close()
		body, err := io.ReadAll(r)
		if err != nil {
			return m, fmt.Errorf("read /%s: %w", c.Path, err)
		}
		m.Node.Body = fstest.Body(string(body))
	}
	return m, nil
}

// countFiles counts what is on disk below the store, to find what was left.
func (st *store) countFiles() int {
	st.t.Helper()
	n := 0
	err := filepath.WalkDir(st.dir, func(_ string, _ os.DirEntry, err error) error {
		n++
		return err
	})
	require.NoError(st.t, err)
	return n
}

// layerID names the n-th layer of a chain.
func layerID(n int) driver.ID { return driver.ID(fmt.Sprintf("layer-%d", n)) }
