package snapshotter

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// renewBase is a crash case: it makes the layer of "base" again from the tar
// that it was unpacked from.
func renewBase(ctx context.Context, s *Snapshotter) error {
	return renewFrom(ctx, s, "base", layerTar("base"))
}

func renewFrom(ctx context.Context, s *Snapshotter, key, layer string) error {
	return s.Renew(ctx, key, strings.NewReader(layer), driver.ApplyOptions{DiffID: digest.FromString(layer)})
}

// replaces reports whether the driver is a [driver.Replacer]. It looks at the
// driver that a test driver wraps.
func replaces(d driver.Driver) bool {
	if f, ok := d.(*faultyDriver); ok {
		d = f.Driver
	}
	_, ok := d.(driver.Replacer)
	return ok
}

func TestADamagedLayerIsMadeAnewUnderItsChildren(t *testing.T) {
	eachDriver(t, func(t *testing.T, dir string, newDriver func() openDriver) {
		root := freshDir(t, dir)
		s := openAt(t, root, Options{open: newDriver()})
		if !replaces(s.Driver()) || s.Driver().Name() == "fake" {
			t.Skip("its layers are no directories that could be damaged")
		}
		commit(t, s, "base", "", layerTar("base"))
		commit(t, s, "mid", "base", layerTar("mid"))
		commit(t, s, "top", "mid", layerTar("top"))
		active(t, s, "work", "top", layerTar("work"))
		before := rowsOf(t, s)
		at := filepath.Join(root, s.Driver().Name(), before["mid"].Layer)
		// In aufs the record is not in the directory of the layer. A layer without a
		// directory for the record counts as a layer of another engine.
		if s.Driver().Name() == "aufs" {
			at = filepath.Join(root, "aufs", ".layerkeep", "layers", before["mid"].Layer)
		}
		for what, damage := range map[string]func(path string) error{
			"missing":          fstest.RemoveAll,
			"without a record": func(path string) error { return os.Remove(filepath.Join(path, "layer.json")) },
			"with half of a record": func(path string) error {
				return os.WriteFile(filepath.Join(path, "layer.json"), []byte(`{"version":`), 0o600)
			},
			"a file": func(path string) error {
				if err := fstest.RemoveAll(path); err != nil {
					return err
				}
				return os.WriteFile(path, nil, 0o600)
			},
		} {
			if s.Driver().Name() == "aufs" && !strings.HasPrefix(what, "with") {
				continue
			}
			require.NoError(t, s.Usable(t.Context(), "mid"))
			require.NoError(t, damage(at), what)
			require.Error(t, s.Usable(t.Context(), "mid"), what)
			require.NoError(t, renewFrom(t.Context(), s, "mid", layerTar("mid")), what)
			require.NoError(t, s.Usable(t.Context(), "mid"), what)
			requireSound(t, s)
			after := rowsOf(t, s)
			for name, row := range before {
				require.Equal(t, row.Layer, after[name].Layer, "%s: the layer of %q", what, name)
				require.Equal(t, map[string]string{name: name}, filesOf(t, diffOf(t, s, name)), "%s: %q", what, name)
			}
			require.Equal(t, before["mid"].Created, after["mid"].Created)
		}
	})
}

func TestRenewRefusesWhatCannotBeMadeAnew(t *testing.T) {
	s, disk := openFake(t)
	commit(t, s, "base", "", "base")
	active(t, s, "work", "base", "work")
	before := rowsOf(t, s)
	for what, c := range map[string]struct {
		err, kind error
	}{
		"a missing snapshot": {renewFrom(t.Context(), s, "none", "base"), errdefs.ErrNotFound},
		"an active snapshot": {renewFrom(t.Context(), s, "work", "work"), errdefs.ErrFailedPrecondition},
		"another content": {
			s.Renew(t.Context(), "base", strings.NewReader("other"), driver.ApplyOptions{DiffID: digest.FromString("base")}), driver.ErrDigest,
		},
		"no digest": {s.Renew(t.Context(), "base", strings.NewReader("base"), driver.ApplyOptions{}), errdefs.ErrInvalidArgument},
	} {
		require.ErrorIs(t, c.err, c.kind, what)
	}
	require.Equal(t, before, rowsOf(t, s))
	requireSound(t, s)

	// The parent of the layer is missing.
	commit(t, s, "top", "base", "top")
	base := layerOf(before["base"])
	kept := disk.layers[base]
	delete(disk.layers, base)
	require.ErrorIs(t, renewFrom(t.Context(), s, "top", "top"), driver.ErrNotFound)
	disk.layers[base] = kept
	requireSound(t, s)
}
