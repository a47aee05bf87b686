package layerdir

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// If the directory of a record or a removal could not be synced, the next try
// has to sync it, even though the change is already in place.
func TestTheNextTrySyncsWhatTheFirstCouldNot(t *testing.T) {
	calls := fstest.NewCalls(t)
	for name, op := range map[string]func(s *Store) error{
		"seal": func(s *Store) error {
			return s.Seal(context.Background(), "open", "tree", func(*Meta) error { return nil })
		},
		"note":     func(s *Store) error { return s.Note("sealed", json.RawMessage(`"note"`)) },
		"note now": func(s *Store) error { return s.NoteNow("open", json.RawMessage(`"note"`)) },
		"remove":   func(s *Store) error { return s.Remove("open") },
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := faultStore(t, false)
			for _, try := range []string{"the first try", "the next try"} {
				var err error
				failed := calls.FailIn(t, "fsync", "internal/durable.osFS.SyncDir", unix.EIO, func() { err = op(s) })
				require.True(t, failed, "%s does not sync", try)
				require.ErrorIs(t, err, unix.EIO, try)
			}
			require.NoError(t, op(s))
		})
	}
}

// If the mount table cannot be read, a layer must not count as unmounted.
func TestAMountThatCannotBeLookedAtIsAnError(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("mounting is not permitted here")
	}
	calls := fstest.NewCalls(t)
	s, other := faultStore(t, false)
	require.NoError(t, unix.Mount(s.Path("open", "tree"), other, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(other, 0)) })
	var err error
	mounted := func() { err = s.NotMounted("open", Unmounted) }
	made, _ := calls.Fail(t, 0, 0, mounted)
	require.ErrorIs(t, err, driver.ErrBusy)
	looked := 0
	for n := 1; n <= made; n++ {
		_, failed := calls.Fail(t, n, unix.EIO, mounted)
		require.Error(t, err, failed)
		if failed == "fstatat" {
			looked++
			require.ErrorIs(t, err, unix.EIO)
		}
	}
	require.Positive(t, looked)
}

// If the mark of Merging cannot be removed, the call returns an error and the
// layer is torn from then on.
func TestALayerWhoseMarkStaysIsTorn(t *testing.T) {
	calls := fstest.NewCalls(t)
	for _, sync := range []bool{false, true} {
		s, _ := faultStore(t, false)
		var err error
		for n, failed := 1, ""; failed != "unlinkat"; n++ {
			_, failed = calls.Fail(t, n, unix.EIO, func() { err = s.Merging("open", sync, func() error { return nil }) })
			require.NotEmpty(t, failed)
			if failed != "unlinkat" {
				require.NoError(t, os.RemoveAll(s.Path("open", mergingName)))
				require.NoError(t, os.RemoveAll(s.Path("open", tornName)))
				s.torn = map[driver.ID]bool{}
			}
		}
		require.ErrorIs(t, err, unix.EIO)
		require.ErrorIs(t, err, driver.ErrTorn)
		_, err = s.Writable("open")
		require.ErrorIs(t, err, driver.ErrTorn)
		require.NoError(t, s.Remove("open"))
	}
}
