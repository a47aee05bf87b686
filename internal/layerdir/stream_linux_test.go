package layerdir

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

func TestOptionsOfAnApplyReachTheUnpacker(t *testing.T) {
	of := driver.Options{Fallbacks: driver.Fallbacks{NoOpenat2: true, SingleThread: true}, Limits: driver.Limits{Entries: 7, Bytes: 8}}
	got := UnpackOptions(of, driver.ApplyOptions{Detached: true, DiffID: "sha256:x", Limits: driver.Limits{Entries: 5}}, "a", whiteout.Overlay, true)
	require.Equal(t, 1, got.Writers)
	require.Equal(t, tar.Limits(of.Limits).Bytes, got.Limits.Bytes)
	require.Equal(t, int64(5), int64(got.Limits.Entries))
	require.True(t, got.Detached && got.UserNS && got.NoOpenat2)
	require.False(t, got.NoFchmodat2)
	require.Equal(t, "sha256:x", string(got.DiffID))
	require.Equal(t, whiteout.Overlay, got.Encoding)
	got = UnpackOptions(driver.Options{Fallbacks: driver.Fallbacks{NoFchmodat2: true}}, driver.ApplyOptions{}, "a", whiteout.OverlayUser, false)
	require.Zero(t, got.Writers)
	require.True(t, got.NoFchmodat2)
	require.False(t, got.Detached || got.UserNS || got.NoOpenat2)
	require.Equal(t, rootfd.Options{NoOpenat2: true}, ReadOptions(driver.Fallbacks{NoOpenat2: true}))
	require.Equal(t, rootfd.Options{NoXattrat: true}, ReadOptions(driver.Fallbacks{NoXattrat: true}))
}

func TestErrorsOfTarMatchThoseOfTheContract(t *testing.T) {
	for _, pair := range [][2]error{{tar.ErrDigest, driver.ErrDigest}, {tar.ErrNeedsParents, driver.ErrNeedsParents}, {tar.ErrTorn, driver.ErrTorn}, {tar.ErrLongName, driver.ErrUnsupported}, {tar.ErrOwnXattr, driver.ErrUnsupported}} {
		err := TarError(pair[0])
		require.ErrorIs(t, err, pair[0])
		require.ErrorIs(t, err, pair[1])
		require.ErrorContains(t, err, pair[0].Error())
	}
	other := errors.New("other")
	require.Equal(t, other, TarError(other))
	require.NoError(t, TarError(nil))
}
