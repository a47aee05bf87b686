package durable_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/durable"
)

func TestAFileIsWrittenSyncedRenamedAndItsDirectorySynced(t *testing.T) {
	tracer := durable.NewTracer(durable.OS())
	path := filepath.Join(t.TempDir(), "header")

	require.NoError(t, durable.WriteFile(tracer.FS(), path, []byte("content"), 0o640))

	require.Equal(t, strings.TrimSpace(`
create .tmp-*
write .tmp-*
chmod .tmp-*
fsync .tmp-*
keep .tmp-*
close .tmp-*
rename header
fsync-dir .
`), tracer.String())
	requireContent(t, path, "content")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
}

func TestAFailingOperationLeavesTheOldContentAndNoTemporaryFile(t *testing.T) {
	injected := errors.New("injected")
	for _, op := range []durable.Op{
		durable.OpCreate, durable.OpWrite, durable.OpChmod, durable.OpKeep, durable.OpSync, durable.OpClose, durable.OpRename,
	} {
		t.Run(string(op), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "header")
			require.NoError(t, durable.WriteFile(durable.OS(), path, []byte("old"), 0o600))

			fsys := durable.Faulty(durable.OS(), func(o durable.Op, _ string) error {
				if o == op {
					return injected
				}
				return nil
			})

			require.ErrorIs(t, durable.WriteFile(fsys, path, []byte("new"), 0o600), injected)
			requireContent(t, path, "old")
			requireOnly(t, path)
		})
	}
}

func TestADirectoryThatCannotBeSyncedIsReported(t *testing.T) {
	injected := errors.New("injected")
	path := filepath.Join(t.TempDir(), "header")
	fsys := durable.Faulty(durable.OS(), func(op durable.Op, _ string) error {
		if op == durable.OpSyncDir {
			return injected
		}
		return nil
	})

	require.ErrorIs(t, durable.WriteFile(fsys, path, []byte("new"), 0o600), injected)
	requireOnly(t, path)
}

func TestAWriterThatFailsLeavesTheOldContent(t *testing.T) {
	failure := errors.New("digest mismatch")
	path := filepath.Join(t.TempDir(), "blob")
	require.NoError(t, durable.WriteFile(durable.OS(), path, []byte("old"), 0o600))

	err := durable.Write(durable.OS(), path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "half of the n")
		require.NoError(t, err)
		return failure
	})

	require.ErrorIs(t, err, failure)
	requireContent(t, path, "old")
	requireOnly(t, path)
}

func TestAPendingFileIsInvisibleUntilCommittedAndGoneWhenDiscarded(t *testing.T) {
	dir := t.TempDir()
	kept, err := durable.Create(durable.OS(), filepath.Join(dir, "kept"), 0o600)
	require.NoError(t, err)
	dropped, err := durable.Create(durable.OS(), filepath.Join(dir, "dropped"), 0o600)
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "kept"))

	require.NoError(t, kept.Commit())
	require.NoError(t, kept.Discard(), "a deferred Discard must not undo Commit")
	require.Error(t, kept.Commit(), "a second Commit has nothing to put in place")
	require.NoError(t, dropped.Discard())
	require.NoError(t, dropped.Discard())

	requireOnly(t, filepath.Join(dir, "kept"))
}

func TestAnUnfinishedFileHasNoNameWhereTheFileSystemCanDoThat(t *testing.T) {
	dir := t.TempDir()
	p, err := durable.Create(durable.OS(), filepath.Join(dir, "f"), 0o600)
	require.NoError(t, err)
	_, err = p.Write([]byte("half"))
	require.NoError(t, err)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	if !canBeUnnamed(t, dir) {
		require.Len(t, entries, 1, "it has a temporary name")
	} else {
		require.Empty(t, entries, "a process that is killed now leaves nothing")
	}
	require.NoError(t, p.Discard())
	entries, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestAMissingDirectoryIsAnError(t *testing.T) {
	err := durable.WriteFile(durable.OS(), filepath.Join(t.TempDir(), "missing", "f"), nil, 0o600)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func requireContent(t *testing.T, path, want string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(raw))
}

// requireOnly fails unless path is alone in its directory.
func requireOnly(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, filepath.Base(path), entries[0].Name())
}
