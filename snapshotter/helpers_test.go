package snapshotter

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// openFake opens a store on a new fake disk.
func openFake(t testing.TB) (*Snapshotter, *fakeDisk) {
	t.Helper()
	disk := newFakeDisk()
	return openAt(t, memDir(t), Options{open: disk.open}), disk
}

// openAt opens a store that is closed at the end of the test.
func openAt(t testing.TB, root string, opts Options) *Snapshotter {
	t.Helper()
	s, err := Open(context.Background(), root, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// commit makes a committed snapshot with this content over a parent.
func commit(t testing.TB, s *Snapshotter, name, parent, content string) {
	t.Helper()
	active(t, s, name+" key", parent, content)
	require.NoError(t, s.Commit(t.Context(), name, name+" key"))
}

// active makes an active snapshot with this content over a parent.
func active(t testing.TB, s *Snapshotter, key, parent, content string) {
	t.Helper()
	require.NoError(t, s.Create(t.Context(), key, parent))
	_, err := s.Apply(t.Context(), key, strings.NewReader(content), driver.ApplyOptions{})
	require.NoError(t, err)
}

// diffOf returns the changes of a snapshot as a layer tar. For a fake driver it
// returns the content of the layer.
func diffOf(t testing.TB, s *Snapshotter, key string) string {
	t.Helper()
	var out bytes.Buffer
	_, err := s.Diff(t.Context(), key, &out, driver.DiffOptions{})
	require.NoError(t, err)
	if s.driver.Name() != "fake" {
		return out.String()
	}
	for r := tar.NewReader(&out); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return ""
		}
		require.NoError(t, err)
		if header.Typeflag == tar.TypeReg {
			content, err := io.ReadAll(r)
			require.NoError(t, err)
			return string(content)
		}
	}
}

// rowsOf returns all rows, including those that callers do not see.
func rowsOf(t testing.TB, s *Snapshotter) map[string]meta.Snapshot {
	t.Helper()
	rows := map[string]meta.Snapshot{}
	require.NoError(t, s.db.View(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			rows[row.Name] = row
			return nil
		})
	}))
	return rows
}

func namesOf(t testing.TB, s *Snapshotter) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(rowsOf(t, s)))
}

// requireSound fails unless rows and layers agree: every row is ready and has
// its layer, every layer has its row, and the parents of committed snapshots
// are committed.
func requireSound(t testing.TB, s *Snapshotter) {
	t.Helper()
	rows := rowsOf(t, s)
	var want []driver.ID
	for name, row := range rows {
		require.Equal(t, meta.Ready, row.State, "state of %q", name)
		if row.Parent != "" {
			require.Equal(t, meta.Committed, rows[row.Parent].Kind, "parent of %q", name)
		}
		want = append(want, layerOf(row))
		requireRecorded(t, s, row)
	}
	layers, err := s.driver.Layers(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, want, layers, "layers on disk and in the metadata")
	require.Zero(t, s.keys.locks.Len(), "locks that nobody holds any more")
}

// requireRecorded requires that the record of a committed snapshot's layer has
// its name. When a commit failed after the layer was sealed, the record may
// have a name that no snapshot ever had.
func requireRecorded(t testing.TB, s *Snapshotter, row meta.Snapshot) {
	t.Helper()
	recorder, ok := s.driver.(driver.Recorder)
	if !ok || row.Kind != meta.Committed || row.Foreign {
		return
	}
	record, err := recorder.Record(context.Background(), layerOf(row))
	require.NoError(t, err)
	c, _, err := readCard(record)
	require.NoError(t, err)
	require.Equal(t, [2]string{row.Name, row.Parent}, [2]string{c.Name, c.Parent}, "what the layer's record says")
}

// realDriver opens the real driver called name and ignores the name that the
// store passes.
func realDriver(name string) openDriver {
	return func(ctx context.Context, root, _ string, opts driver.Options) (driver.Driver, error) {
		d, _, err := all.Select(ctx, root, name, opts)
		return d, err
	}
}

// memDir returns a directory for the test, in memory when that is possible.
// Most tests make many stores, and every commit syncs a whole file system.
func memDir(t testing.TB) string {
	t.Helper()
	return fstest.MemoryDir(t)
}

// freshDir makes a directory for the test in another one.
func freshDir(t testing.TB, in string) string {
	t.Helper()
	dir, err := os.MkdirTemp(in, "store-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fstest.RemoveAll(dir)) })
	return dir
}
