package layerdir

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

func TestARecordIsWrittenAgain(t *testing.T) {
	s, _ := faultStore(t, false)
	looked := 0
	r := s.Rerecorder("vfs", "tree", func(_ context.Context, id driver.ID, m *Meta) error {
		looked++
		require.Equal(t, driver.ID("open"), id)
		m.Metacopy = true
		return nil
	})
	opts := driver.CreateOptions{Size: 5, IDMap: &mount.IDMap{}, Note: []byte(`"n"`)}
	for range 2 { // without a record, and over one
		require.NoError(t, os.RemoveAll(s.Path("open", RecordName)))
		require.NoError(t, r.Rerecord(t.Context(), "open", []driver.ID{"sealed"}, opts))
		require.NoError(t, r.Rerecord(t.Context(), "open", []driver.ID{"sealed"}, opts))
	}
	require.Equal(t, 4, looked)
	m, err := s.Load("open")
	require.NoError(t, err)
	require.Equal(t, []driver.ID{"sealed"}, m.Parents)
	require.Equal(t, int64(5), m.Size)
	require.NotNil(t, m.IDMap)
	require.JSONEq(t, `"n"`, string(m.Note))
	require.True(t, m.Escaped, "as its parent")
	require.True(t, m.Metacopy, "as the driver has found")
	require.False(t, m.Sealed)

	require.NoError(t, os.MkdirAll(s.Path("view"), 0o700))
	require.NoError(t, r.Rerecord(t.Context(), "view", []driver.ID{"sealed"}, driver.CreateOptions{View: true}), "a view has no files")
	m, err = s.Load("view")
	require.NoError(t, err)
	require.True(t, m.View)
	require.True(t, m.Escaped)
}

func TestWhatIsNoLayerGetsNoRecord(t *testing.T) {
	s, _ := faultStore(t, false)
	boom := errors.New("boom")
	r := s.Rerecorder("vfs", "tree", func(context.Context, driver.ID, *Meta) error { return boom })
	require.NoError(t, os.MkdirAll(s.Path("empty"), 0o700))
	require.NoError(t, os.MkdirAll(s.Path("odd"), 0o700))
	require.NoError(t, os.WriteFile(s.Path("odd", "tree"), nil, 0o600))
	require.NoError(t, s.Borrow("x", t.TempDir(), "tree"))
	for id, want := range map[driver.ID]error{
		"..": driver.ErrInvalidID, "none": driver.ErrNotFound, "empty": driver.ErrNotFound, "odd": unix.ENOTDIR, "x.a": driver.ErrReadOnly, "open": boom,
	} {
		err := r.Rerecord(t.Context(), id, nil, driver.CreateOptions{})
		require.ErrorIs(t, err, want, id)
		require.ErrorContains(t, err, "vfs: write the record of layer "+string(id))
	}
	for _, parent := range []driver.ID{"none", "torn"} {
		require.Error(t, r.Rerecord(t.Context(), "open", []driver.ID{parent}, driver.CreateOptions{}), parent)
	}
	require.NoFileExists(t, s.Path("empty", RecordName))
}

func TestAMountedLayerGetsNoRecordWhereItIsWritable(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("mounting is not permitted here")
	}
	s, _ := faultStore(t, false)
	require.NoError(t, unix.Mount(s.Path("open", "tree"), s.Path("open", "tree"), "", unix.MS_BIND, ""))
	defer unix.Unmount(s.Path("open", "tree"), 0)
	require.ErrorIs(t, s.Rerecorder("vfs", "tree", nil).Rerecord(t.Context(), "open", nil, driver.CreateOptions{}), driver.ErrBusy)
}
