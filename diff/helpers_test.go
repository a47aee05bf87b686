//go:build linux

package diff_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// needsRoot skips a test that only root can run.
func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: chown, mknod and trusted xattrs")
	}
}

// tree makes edits in a new directory. Its root has fixed attributes.
func tree(t testing.TB, edits ...fstest.Edit) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "t")
	require.NoError(t, os.Mkdir(root, 0o755))
	edit(t, root, edits...)
	return root
}

func edit(t testing.TB, root string, edits ...fstest.Edit) {
	t.Helper()
	for _, e := range edits {
		if os.Geteuid() != 0 { // new files belong to the user who runs the test
			e.UID, e.GID = uint32(os.Geteuid()), uint32(os.Getegid())
		}
		require.NoError(t, e.Apply(root))
	}
	require.NoError(t, fstest.Touch(".", fstest.EditTime).Apply(root))
}

// view opens a directory as a view for the length of the test.
func view(t testing.TB, root string) diff.View {
	t.Helper()
	f, err := os.Open(root)
	require.NoError(t, err)
	v := diff.DirView(f)
	t.Cleanup(func() {
		_ = v.Close()
		_ = f.Close()
	})
	return v
}

// compare compares two directories and collects the warnings.
func compare(t testing.TB, old, new string) (changes []diff.Change, warnings []string) {
	t.Helper()
	opts := diff.Options{Warn: func(path, message string) { warnings = append(warnings, path+": "+message) }}
	changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), view(t, new), opts))
	require.NoError(t, err)
	return changes, warnings
}
