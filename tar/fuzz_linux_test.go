package tar

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// FuzzUnpack applies any bytes over a small tree: as a plain tree, and over a
// substitute for the lower directory of an overlay. Unpack must not panic or
// hang and must change nothing outside. A refused layer changes nothing, and
// both ways agree on whether a layer is valid.
func FuzzUnpack(f *testing.F) {
	base, top := rollbackLayers()
	f.Add(fstest.Layer(f, base...))
	f.Add(fstest.Layer(f, top...))
	limits := Limits{Entries: 200, Bytes: 1 << 20, PathDepth: 20, PAXBytes: 1 << 16}
	f.Fuzz(func(t *testing.T, layer []byte) {
		if os.Geteuid() != 0 {
			t.Skip("needs root: layers have owners and devices")
		}
		dir := t.TempDir()
		outside := filepath.Join(dir, "outside")
		require.NoError(t, os.Mkdir(outside, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
		safe := fstest.FromPath(t, outside)

		b := newPlainBed(t, dir)
		_, err := b.apply(t, fstest.Layer(t, base...), UnpackOptions{})
		require.NoError(t, err)
		before := b.tree(t)

		upper := open(t, newRoot(t, filepath.Join(dir, "upper")))
		below := diff.DirView(open(t, b.root))
		d, _, overErr := Unpack(t.Context(), staging(t, dir), bytes.NewReader(layer),
			UnpackOptions{Limits: limits, Parents: below, Encoding: whiteout.Overlay})
		if overErr == nil {
			overErr = d.Merge(t.Context(), Target{Root: upper, Below: below, Encoding: whiteout.Overlay})
		}
		fstest.RequireEqual(t, before, b.tree(t), "the parents")

		forgetful := newPlainBed(t, staging(t, dir).Name())
		_, err = forgetful.apply(t, fstest.Layer(t, base...), UnpackOptions{})
		require.NoError(t, err)
		forgetful.forgetful = true
		_, forgetfulErr := forgetful.apply(t, layer, UnpackOptions{Limits: limits})

		_, err = b.apply(t, layer, UnpackOptions{Limits: limits})
		require.Equal(t, fmt.Sprint(err), fmt.Sprint(forgetfulErr), "with files forgotten")
		fstest.RequireEqual(t, b.tree(t), forgetful.tree(t), "with files forgotten")
		require.Equal(t, overErr == nil, err == nil, "over parents: %v, in place: %v", overErr, err)
		if err != nil {
			require.True(t, errors.Is(err, diff.ErrInvalidLayer) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) ||
				errors.Is(err, unix.ERANGE) || errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC), "%v", err)
			fstest.RequireEqual(t, before, b.tree(t), "after a refused layer")
		}
		fstest.RequireEqual(t, safe, fstest.FromPath(t, outside), "the directory outside")
	})
}
