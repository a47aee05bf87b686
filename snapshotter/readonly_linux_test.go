package snapshotter

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// filled makes a store on a fake disk with "base", and "key" over it.
func filled(t *testing.T, root string) *fakeDisk {
	t.Helper()
	disk := newFakeDisk()
	s, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	commit(t, s, "base", "", "content")
	active(t, s, "key", "base", "more")
	require.NoError(t, s.Close())
	return disk
}

// requireReadOnly fails unless the store can be read and cannot be changed.
func requireReadOnly(t *testing.T, s *Snapshotter) {
	t.Helper()
	ctx := t.Context()
	require.True(t, s.ReadOnly())
	info, err := s.Stat(ctx, "key")
	require.NoError(t, err)
	require.Equal(t, "base", info.Parent)
	_, err = s.Usage(ctx, "key")
	require.NoError(t, err)
	for what, change := range map[string]func() error{
		"prepare": func() error { _, err := s.Prepare(ctx, "new", "base"); return err },
		"view":    func() error { _, err := s.View(ctx, "new", "base"); return err },
		"make":    func() error { return s.Create(ctx, "new", "") },
		"commit":  func() error { return s.Commit(ctx, "new", "key") },
		"remove":  func() error { return s.Remove(ctx, "key") },
		"rename":  func() error { return s.Rename(ctx, "key", "new") },
		"apply": func() error {
			_, err := s.Apply(ctx, "key", strings.NewReader(""), driver.ApplyOptions{})
			return err
		},
		"update":  func() error { _, err := s.Update(ctx, snapshots.Info{Name: "key"}); return err },
		"cleanup": func() error { return s.Cleanup(ctx) },
	} {
		err := change()
		require.ErrorIs(t, err, ErrReadOnly, what)
		require.ErrorIs(t, err, driver.ErrReadOnly, what)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition, what)
		require.ErrorIs(t, err, unix.EROFS, what)
		require.ErrorContains(t, err, "the store is read-only", what)
	}
	require.ErrorIs(t, s.DB().Update(func(*meta.Tx) error { return nil }), meta.ErrReadOnly)
}

func TestAStoreOnADiskThatCannotBeWrittenToIsReadAndSaysSo(t *testing.T) {
	requireMount(t)
	dir := tmpfs(t)
	root := filepath.Join(dir, "store")
	disk := filled(t, root)
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	var log bytes.Buffer
	s := openAt(t, root, Options{open: disk.open, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	requireReadOnly(t, s)
	require.Equal(t, 1, strings.Count(log.String(), "level=WARN"), log.String())
	require.Contains(t, log.String(), "read-only")
}

func TestWhatIsAskedForToBeReadAloneSaysNothing(t *testing.T) {
	root := memDir(t)
	disk := filled(t, root)
	require.NoError(t, os.Remove(filepath.Join(root, lockName)))
	var log bytes.Buffer
	s := openAt(t, root, Options{ReadOnly: true, open: disk.open, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	requireReadOnly(t, s)
	require.Empty(t, log.String())
	require.NoFileExists(t, filepath.Join(root, lockName))

	_, err := Open(t.Context(), root, Options{open: disk.open, LockTimeout: -1})
	require.ErrorIs(t, err, ErrLocked, "the database keeps writers away where there is no lock")
}

func TestReadersShareAStoreAndKeepWritersOut(t *testing.T) {
	root := memDir(t)
	disk := filled(t, root)
	require.NoError(t, os.WriteFile(filepath.Join(root, lockName), []byte("1\n/run/killed.sock\n"), 0o600))
	first := openAt(t, root, Options{ReadOnly: true, open: disk.open})
	second := openAt(t, root, Options{ReadOnly: true, open: disk.open})
	requireReadOnly(t, first)
	requireReadOnly(t, second)
	_, ok := HolderOf(root)
	require.False(t, ok, "nobody serves it")
	_, err := Open(t.Context(), root, Options{open: disk.open, LockTimeout: -1})
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, "processes that read it")
	require.NotContains(t, err.Error(), "killed.sock")

	go func() {
		time.Sleep(20 * time.Millisecond)
		_ = first.Close()
		_ = second.Close()
	}()
	writer := openAt(t, root, Options{open: disk.open})
	_, err = Open(t.Context(), root, Options{ReadOnly: true, open: disk.open, LockTimeout: -1})
	require.ErrorIs(t, err, ErrLocked)
	require.False(t, writer.ReadOnly())
}

func TestRowsThatAreNotReadyStayAndAreNotShown(t *testing.T) {
	root := memDir(t)
	disk := filled(t, root)
	s, err := Open(t.Context(), root, Options{open: disk.open})
	require.NoError(t, err)
	require.NoError(t, s.db.Update(func(tx *meta.Tx) error {
		for name, state := range map[string]meta.State{"made": meta.Pending, "removed": meta.Removing} {
			if _, err := tx.CreateSnapshot(meta.Snapshot{Name: name, Kind: meta.Active, State: state}); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, s.Close())

	s = openAt(t, root, Options{ReadOnly: true, open: disk.open})
	for _, name := range []string{"made", "removed"} {
		_, err := s.Stat(t.Context(), name)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
	}
	var shown []string
	require.NoError(t, s.Walk(t.Context(), func(_ context.Context, info snapshots.Info) error {
		shown = append(shown, info.Name)
		return nil
	}))
	require.Equal(t, []string{"base", "key"}, shown)
	require.Equal(t, []string{"base", "key", "made", "removed"}, namesOf(t, s))
}

func TestDamageIsFoundWithoutWriting(t *testing.T) {
	root := memDir(t)
	disk := filled(t, root)
	require.NoError(t, os.Truncate(filepath.Join(root, metaName), 4096))
	_, err := Open(t.Context(), root, Options{ReadOnly: true, open: disk.open})
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, os.Remove(filepath.Join(root, metaName)))
	_, err = Open(t.Context(), root, Options{ReadOnly: true, open: disk.open})
	require.ErrorIs(t, err, ErrDamaged)
	require.NoFileExists(t, filepath.Join(root, metaName))
}

func TestAnotherDriverIsRefusedForReadingToo(t *testing.T) {
	root := memDir(t)
	disk := filled(t, root)
	_, err := Open(t.Context(), root, Options{ReadOnly: true, Driver: "other", open: disk.open})
	require.ErrorIs(t, err, ErrOtherDriver)
}
