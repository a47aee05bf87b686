package overlay2

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// needEscapes skips where overlay cannot show escaped attributes.
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

// A store may have come from a newer kernel.
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
