package snapshotter

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// commitFiles commits the files that make has made in the tree of a vfs layer.
// It does not mount the layer.
func commitFiles(t *testing.T, opts Options, make func(dir string)) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: layers have the owners that they name")
	}
	opts.Driver = "vfs"
	s := openAt(t, freshDir(t, memDir(t)), opts)
	require.NoError(t, s.Create(t.Context(), "key", ""))
	_, err := s.Apply(t.Context(), "key", bytes.NewReader(fstest.Layer(t, fstest.File("f", "f"))), driver.ApplyOptions{})
	require.NoError(t, err)
	row, err := s.row("key")
	require.NoError(t, err)
	make(filepath.Join(s.Root(), "vfs", row.Layer, "tree"))
	require.NoError(t, s.Commit(t.Context(), "done", "key"))
	row, err = s.row("done")
	require.NoError(t, err)
	if row.Digest != "" {
		sum, err := s.ContentDigest(t.Context(), "done", func(int) error { return nil })
		require.NoError(t, err)
		require.Equal(t, row.Digest, sum.String())
	}
	return row.Digest
}

func TestACommitKeepsTheDigestOfALayer(t *testing.T) {
	nothing := func(string) {}
	want := commitFiles(t, Options{}, nothing)
	require.NotEmpty(t, want)
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	require.Equal(t, want, commitFiles(t, Options{}, nothing), "whatever the environment says")
	require.Empty(t, commitFiles(t, Options{DigestLimit: -1}, nothing))
	require.Empty(t, commitFiles(t, Options{DigestLimit: 1}, nothing))
}

// The disk usage of a layer says little about how many bytes there are to read.
func TestTheDigestOfASparseFileOrOfManyFilesIsNotWaitedFor(t *testing.T) {
	require.Empty(t, commitFiles(t, Options{}, func(dir string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600))
		require.NoError(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<40))
	}))
	require.Empty(t, commitFiles(t, Options{DigestLimit: 64 << 10}, func(dir string) {
		for i := range 200 {
			require.NoError(t, os.WriteFile(filepath.Join(dir, string(rune('a'+i%26))+string(rune('a'+i/26))), nil, 0o600))
		}
	}))
}
