package tar

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// FuzzLoadDelta reads any bytes as a saved delta. A delta that is accepted is
// the same after saving and loading again. Merging it changes nothing outside
// of the target, and nothing in the target if Merge returns an error.
func FuzzLoadDelta(f *testing.F) {
	for _, e := range []whiteout.Encoding{whiteout.Plain, whiteout.Overlay, whiteout.AUFS} {
		d := &Delta{encoding: e, detached: e == whiteout.Overlay, root: e == whiteout.Plain, marks: &mark{}}
		d.marks.at("d/gone").whiteout = true
		d.marks.at("d/new").implied = true
		d.marks.at("e").opaque = true
		d.marks.at("e/f").cut = true
		d.marks.at("d/assumed").assumed = true
		var b bytes.Buffer
		require.NoError(f, d.Save(&b))
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		dir := t.TempDir()
		d, err := LoadDelta(bytes.NewReader(input), staging(t, dir))
		if err != nil {
			return
		}
		var one, two bytes.Buffer
		require.NoError(t, d.Save(&one))
		again, err := LoadDelta(bytes.NewReader(one.Bytes()), nil)
		require.NoError(t, err)
		require.NoError(t, again.Save(&two))
		require.Equal(t, one.String(), two.String())
		mergeLoaded(t, d, dir)
	})
}

// mergeLoaded merges a delta with an empty staging directory, in a directory
// that has other files.
func mergeLoaded(t *testing.T, d *Delta, dir string) {
	t.Helper()
	outside := filepath.Join(dir, "outside")
	for _, file := range []string{"outside/d/gone", "outside/gone", "below/d/gone", "below/e/f", "upper/d/other"} {
		path := filepath.Join(dir, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
	}
	upper, below := filepath.Join(dir, "upper"), filepath.Join(dir, "below")
	require.NoError(t, os.Symlink("../outside", filepath.Join(upper, "link")))
	require.NoError(t, os.Symlink("../outside", filepath.Join(below, "lower")))
	safe, kept, before := fstest.FromPath(t, outside), fstest.FromPath(t, below), fstest.FromPath(t, upper)
	target := Target{Root: open(t, upper), Encoding: d.encoding}
	if d.encoding != whiteout.Plain {
		target.Below = diff.DirView(open(t, below))
	}
	if err := d.Merge(t.Context(), target); err != nil {
		fstest.RequireEqual(t, before, fstest.FromPath(t, upper), "after a refused delta: "+err.Error())
	}
	fstest.RequireEqual(t, safe, fstest.FromPath(t, outside), "the directory outside")
	fstest.RequireEqual(t, kept, fstest.FromPath(t, below), "the parents")
}
