package durable_test

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/durable"
)

func TestOnlyTemporaryFilesOfOthersAreStale(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".tmp-1", ".tmp-18446744073709551615", ".tmp-made", ".tmp-", ".tmp-1x", ".tmp-kept", "1", "file"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".tmp-2"), 0o700))
	require.NoError(t, os.Symlink("file", filepath.Join(dir, ".tmp-3")))

	require.NoError(t, durable.RemoveStale(dir, ".tmp-made", ".tmp-missing"))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	require.Equal(t, []string{".tmp-", ".tmp-1x", ".tmp-2", ".tmp-3", ".tmp-kept", "1", "file"}, left)
	require.NoError(t, durable.RemoveStale(filepath.Join(dir, "missing")))
	require.Error(t, durable.RemoveStale(filepath.Join(dir, "file")))
}

// What this process is writing has a name for a moment, before it gets its own.
func TestFilesThatAreBeingWrittenAreNotStale(t *testing.T) {
	dir := t.TempDir()
	sweeping := durable.Observed(durable.OS(), func(op durable.Op, path string) error {
		if op == durable.OpRename || op == durable.OpClose {
			return durable.RemoveStale(dir)
		}
		return nil
	})
	path := filepath.Join(dir, "header")
	require.NoError(t, durable.WriteFile(sweeping, path, []byte("content"), 0o600))
	requireContent(t, path, "content")

	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for range 50 {
				path := filepath.Join(dir, string(rune('a'+n)))
				err := durable.Write(named{durable.OS()}, path, 0o600, func(w io.Writer) error {
					_, err := w.Write([]byte("x"))
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		require.NoError(t, durable.RemoveStale(dir))
	}
	writers.Wait()
}

// named is a file system on which every file has a name from the beginning.
type named struct{ durable.FS }

func (n named) CreateTemp(dir, prefix string) (durable.File, error) {
	f, err := os.CreateTemp(dir, prefix+"*")
	return namedFile{f}, err
}

type namedFile struct{ *os.File }

func (namedFile) Keep() error { return nil }
