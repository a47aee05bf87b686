package snapshotter

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// A layer with too many parents could neither be mounted nor be a parent.
// Commit refuses it before it changes anything.
func TestACommitRefusesOneLayerMoreThanCanBeStacked(t *testing.T) {
	s, disk := openFake(t)
	disk.most = 3
	parent := ""
	for i := range disk.most {
		name := fmt.Sprint("layer", i)
		require.NoError(t, s.Create(t.Context(), "key", parent))
		require.NoError(t, s.Commit(t.Context(), name, "key"))
		parent = name
	}
	require.NoError(t, s.Create(t.Context(), "work", parent), "a container can run on as many")
	require.NoError(t, s.Create(t.Context(), "loose", ""))
	before := len(disk.layers)
	for what, err := range map[string]error{
		"a commit":             s.Commit(t.Context(), "more", "work"),
		"a commit on a parent": s.Commit(t.Context(), "more", "loose", snapshots.WithParent(parent)),
		"an extraction":        s.Create(t.Context(), "@engine/default/1/extract-1 sha256:0", parent),
	} {
		require.ErrorIs(t, err, driver.ErrTooManyLayers, what)
		require.ErrorIs(t, err, errdefs.ErrNotImplemented, what)
		require.ErrorContains(t, err, "it would be layer 4 of its stack, which has at most 3", what)
	}
	require.Len(t, disk.layers, before)
	info, err := s.Stat(t.Context(), "work")
	require.NoError(t, err)
	require.Equal(t, snapshots.KindActive, info.Kind)
	_, err = s.Stat(t.Context(), "more")
	require.True(t, errors.Is(err, errdefs.ErrNotFound))
	require.NoError(t, s.Commit(t.Context(), "fits", "loose", snapshots.WithParent("layer1")))
}
