package fstest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestEveryScratchFileSystemHoldsWhatTestsNeed(t *testing.T) {
	for _, fs := range fstest.All() {
		t.Run(string(fs), func(t *testing.T) {
			dir := fstest.Scratch(t, fs)
			edits := []fstest.Edit{
				fstest.Mkdir("d"), fstest.Create("d/f", "body"), fstest.MakeSymlink("d/l", "f"),
				fstest.MakeLink("d/g", "d/f"), fstest.SetXattr("d/f", "user.a", ""), fstest.SetXattr("d/l", "trusted.b", "x"),
				fstest.Chown("d/f", 4294967294, 5), fstest.Chmod("d/f", 0o6755),
			}
			for _, e := range edits {
				require.NoError(t, e.Apply(dir))
			}
			tree := fstest.FromPath(t, dir)
			require.Equal(t, "d/f", tree["d/g"].Link)
			require.Equal(t, uint32(4294967294), tree["d/f"].UID)
			require.Equal(t, uint32(0o6755), tree["d/f"].Perm())
			require.Equal(t, map[string]string{"user.a": ""}, tree["d/f"].Xattrs)
			require.Equal(t, map[string]string{"trusted.b": "x"}, tree["d/l"].Xattrs)
			require.True(t, tree["d/f"].Mtime.Equal(fstest.EditTime))
		})
	}
}

func TestCompareNamesEveryDifference(t *testing.T) {
	want := fstest.Tree{"a": {Mode: 0o100644, Body: "x", Size: 1}, "b": {Mode: 0o100644}}
	got := fstest.Tree{"a": {Mode: 0o100600, Body: "y", Size: 1}, "c": {Mode: 0o100644}}
	d := fstest.Compare(want, got)
	require.Contains(t, d, "/a: perm: want 0644, got 0600")
	require.Contains(t, d, `/a: body: want "x", got "y"`)
	require.Contains(t, d, "/b: missing")
	require.Contains(t, d, "/c: must not exist")
	require.Empty(t, fstest.Compare(want, want))
}
