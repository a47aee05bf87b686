package overlay2

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// needEscapes skips the test if overlay cannot show escaped attributes.
func (d *overlay) needEscapes(t *testing.T) {
	t.Helper()
	if !d.features.Escapes {
		t.Skip("this kernel's overlay hides escaped attributes (shown from Linux 6.7 on)")
	}
}

func TestALayerWithOverlaysOwnAttributesIsRefusedWhereTheyCannotBeShown(t *testing.T) {
	d := open(t, driver.Options{Fallbacks: driver.Fallbacks{NoEscape: true}})
	require.Equal(t, "trusted.overlay.", d.Properties().RefusedXattr)
	layer := fstest.Layer(t, fstest.File("plain", ""), fstest.Dir("d").WithXattr("trusted.overlay.opaque", "y"))
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
	for _, opts := range []driver.ApplyOptions{{}, {Detached: true}} {
		_, err := d.ApplyDiff(t.Context(), "a", bytes.NewReader(layer), opts)
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.ErrorContains(t, err, "d/")
		require.ErrorContains(t, err, "trusted.overlay.opaque")
		require.Len(t, d.shows(t, "a"), 1, "only the root")
	}
}

func TestAnEnginesLayerWithOverlaysOwnAttributesIsRefusedWhereTheyCannotBeShown(t *testing.T) {
	d := open(t, driver.Options{Fallbacks: driver.Fallbacks{NoEscape: true}})
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
	file := d.store.Path("a", fsDir, "f")
	write(t, file, "x")
	require.NoError(t, unix.Setxattr(file, "trusted.overlay.redirect", []byte("/x"), 0))
	err := d.Settle(t.Context(), "a")
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorContains(t, err, "trusted.overlay.")
	_, err = d.Mount(t.Context(), "a", driver.MountOptions{})
	require.ErrorIs(t, err, driver.ErrUnsupported, "it is still active there")
}

func TestSettlingRecordsThatALayerHasEscapedAttributes(t *testing.T) {
	d := open(t, driver.Options{})
	d.needEscapes(t)
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
	file := d.store.Path("a", fsDir, "f")
	write(t, file, "x")
	require.NoError(t, unix.Setxattr(file, "trusted.overlay.redirect", []byte("/x"), 0))
	require.NoError(t, d.Settle(t.Context(), "a"))
	require.NoError(t, d.Seal(t.Context(), "a"))
	d.features.Escapes = false
	_, err := d.Mount(t.Context(), "a", driver.MountOptions{})
	require.ErrorIs(t, err, driver.ErrUnsupported)
}

// A privileged container can make overlays of its own.
func TestSealingRecordsWhatAProgramHasSetThroughAMount(t *testing.T) {
	d := open(t, driver.Options{})
	d.needEscapes(t)
	attr := d.marks.Xattr("x")
	for name, set := range map[string]func(root string) error{
		"of the root":   func(root string) error { return unix.Setxattr(root, attr, []byte("1"), 0) },
		"of a file":     func(root string) error { return unix.Setxattr(root+"/d/f", attr, []byte("1"), 0) },
		"of a link":     func(root string) error { return unix.Lsetxattr(root+"/d/l", d.marks.Xattr("y"), []byte("1"), 0) },
		"none of those": func(root string) error { return unix.Setxattr(root+"/d/f", "trusted.other", []byte("1"), 0) },
		"taken away": func(root string) error {
			return errors.Join(unix.Setxattr(root+"/d", attr, []byte("1"), 0), unix.Removexattr(root+"/d", attr))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, driver.Options{})
			d.sealed(t, "base", nil, fstest.Dir("d"), fstest.File("d/f", "x"), fstest.Symlink("d/l", "f"))
			require.NoError(t, d.Create(t.Context(), "a", []driver.ID{"base"}, driver.CreateOptions{}))
			mounts, err := d.Mount(t.Context(), "a", driver.MountOptions{})
			require.NoError(t, err)
			require.NoError(t, mount.Mounter{}.WithTemp(t.Context(), mounts, set))
			interrupted, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, d.Seal(interrupted, "a"), context.Canceled)
			require.NoError(t, d.Seal(t.Context(), "a"))
			require.NoDirExists(t, d.store.Path("a", workDir))
			require.NoError(t, d.Create(t.Context(), "child", []driver.ID{"a", "base"}, driver.CreateOptions{}))
			d.features.Escapes = false
			for _, id := range []driver.ID{"a", "child"} {
				_, err = d.Mount(t.Context(), id, driver.MountOptions{})
				if name == "none of those" || name == "taken away" {
					require.NoError(t, err, id)
				} else {
					require.ErrorIs(t, err, driver.ErrUnsupported, id)
				}
			}
		})
	}
}

// A store may come from a newer kernel.
func TestALayerWithEscapedAttributesIsReadButNotMountedWhereTheyCannotBeShown(t *testing.T) {
	d := open(t, driver.Options{})
	d.needEscapes(t)
	d.sealed(t, "plain", nil, fstest.File("f", ""))
	d.sealed(t, "escaped", []driver.ID{"plain"}, fstest.Dir("d").WithXattr("trusted.overlay.opaque", "y"))
	d.sealed(t, "child", []driver.ID{"escaped", "plain"}, fstest.File("g", ""))
	require.NoError(t, d.Create(t.Context(), "rebased", nil, driver.CreateOptions{}))
	layer := fstest.Layer(t, fstest.File("h", "").WithXattr("trusted.overlay.redirect", "/f"))
	_, err := d.ApplyDiff(t.Context(), "rebased", bytes.NewReader(layer), driver.ApplyOptions{Detached: true})
	require.NoError(t, err)
	require.NoError(t, d.Rebase(t.Context(), "rebased", []driver.ID{"plain"}))
	want := d.shows(t, "child")

	d.features.Escapes = false
	require.Equal(t, want, d.shows(t, "child"))
	for _, id := range []driver.ID{"escaped", "child", "rebased"} {
		_, err := d.Mount(t.Context(), id, driver.MountOptions{})
		require.ErrorIs(t, err, driver.ErrUnsupported, id)
		require.ErrorContains(t, err, "6.7")
		require.NoError(t, d.Create(t.Context(), "over-"+id, []driver.ID{"plain"}, driver.CreateOptions{}))
	}
	_, err = d.Mount(t.Context(), "plain", driver.MountOptions{})
	require.NoError(t, err)
	require.NoError(t, d.Create(t.Context(), "view", []driver.ID{"child", "escaped", "plain"}, driver.CreateOptions{View: true}))
	_, err = d.Mount(t.Context(), "view", driver.MountOptions{})
	require.ErrorIs(t, err, driver.ErrUnsupported)
}
