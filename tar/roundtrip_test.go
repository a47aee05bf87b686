//go:build linux

package tar_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

// The changes of a tree are written as a layer and applied to the old tree. The
// result must be the new tree, and comparing again must give the same layer.
func TestAWrittenLayerAppliedToTheOldTreeGivesTheNewOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chown, mknod and trusted xattrs")
	}
	long := strings.Repeat("n", 200)
	base := []Edit{
		Mkdir("d"), Create("d/f", "x"), Mkdir("d/sub"), Create("d/sub/x", ""), Create("gone", ""), MakeSymlink("dangling", "nowhere"),
		Create("a", "linked"), MakeLink("b", "a"), Create("c", "alone"), Mkdir("replaced"), Create("replaced/old", ""), Create("file", ""),
		Mkdir("toFile"), Create("toFile/x", ""), MakeSymlink("toDir", "d"), Create("suid", "x"), Chmod("suid", 0o4755), Create("caps", "x"),
	}
	edits := []Edit{
		Remove("gone"), Remove("dangling"), Remove("b"), Create("b", "linked"), MakeLink("c2", "c"), MakeLink("d/c3", "c"),
		Remove("replaced"), Mkdir("replaced"), Create("replaced/new", "n"), Remove("file"), Mkdir("file"), Create("file/y", "y"),
		Remove("toFile"), Create("toFile", "z"), Remove("toDir"), Mkdir("toDir"), Create("toDir/q", ""), Rename("d/sub", "moved"),
		Chown("suid", 4294967294, 1<<21), Touch("d", time.Unix(-7, 5)), Mkdir(long), Create(long+"/"+long, strings.Repeat("body", 100_000)),
		Create("\xff\n", ""), SetXattr("caps", "user.empty", ""), SetXattr("caps", "trusted.t", "\x00=\n"), SetXattr("caps", "security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		MakeLink("caps2", "caps"), Mknod("fifo", diff.TypeFifo|0o600, 0), Mknod("null", diff.TypeChar|0o666, 0x103), Mknod("loop", diff.TypeBlock|0o660, 0x12c<<12&0xfff00000|0x72c),
		MakeSymlink("ln", "a"), MakeLink("ln2", "ln"), Chmod(".", 0o1777),
	}
	dir := t.TempDir()
	root := func(name string, edits ...Edit) *os.File {
		p := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(p, 0o755))
		for _, e := range append(edits, Touch(".", EditTime)) {
			require.NoError(t, e.Apply(p))
		}
		f, err := os.Open(p)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	old, new, target, staging := root("old", base...), root("new", append(base, edits...)...), root("target", base...), root("staging")
	layer := layerOf(t, old, new)

	delta, applied, err := tar.Unpack(t.Context(), staging, bytes.NewReader(layer), tar.UnpackOptions{
		Parents: diff.DirView(target), Warn: func(path, message string) { t.Errorf("warning: %s: %s", path, message) },
	})
	require.NoError(t, err)
	require.EqualValues(t, len(layer), applied.Bytes)
	require.NoError(t, delta.Merge(t.Context(), tar.Target{Root: target}))
	RequireEqual(t, FromPath(t, new.Name()), FromPath(t, target.Name()), "the tree after applying the layer")

	require.Equal(t, make([]byte, 1024), layerOf(t, new, target), "what is left to change")
	require.Equal(t, layer, layerOf(t, old, target), "the same change again")
}

func layerOf(t testing.TB, old, new *os.File) []byte {
	t.Helper()
	warn := func(path, message string) { t.Errorf("warning: %s: %s", path, message) }
	var layer bytes.Buffer
	_, err := tar.Write(t.Context(), &layer, diff.Compare(t.Context(), diff.DirView(old), diff.DirView(new), diff.Options{Warn: warn}), tar.WriteOptions{Warn: warn})
	require.NoError(t, err)
	return layer.Bytes()
}

// BenchmarkWrite writes a layer of 10,000 files of 4 KiB.
func BenchmarkWrite(b *testing.B) {
	root := b.TempDir()
	for d := range 100 {
		require.NoError(b, os.Mkdir(filepath.Join(root, fmt.Sprint(d)), 0o755))
		for f := range 100 {
			require.NoError(b, os.WriteFile(filepath.Join(root, fmt.Sprint(d), fmt.Sprint(f)), make([]byte, 4096), 0o644))
		}
	}
	f, err := os.Open(root)
	require.NoError(b, err)
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		var out countOnly
		_, err := tar.Write(b.Context(), &out, diff.Compare(b.Context(), nil, diff.DirView(f), diff.Options{}), tar.WriteOptions{})
		require.NoError(b, err)
		b.SetBytes(int64(out))
	}
}

type countOnly int

func (c *countOnly) Write(p []byte) (int, error) {
	*c += countOnly(len(p))
	return len(p), nil
}
