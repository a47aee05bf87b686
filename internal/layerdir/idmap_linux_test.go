package layerdir

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// A mapper is an idMapProber that returns a given error.
type mapper struct{ err error }

func (m mapper) ProbeIDMap(context.Context, string, bool) error { return m.err }

func TestMountsWithMappedIDsAreTried(t *testing.T) {
	boom := errors.New("boom")
	for answer, want := range map[error]struct {
		can bool
		err error
	}{nil: {true, nil}, mount.ErrUnsupported: {false, nil}, boom: {false, boom}} {
		s := open(t)
		can, err := s.CanMap(t.Context(), mapper{answer}, false)
		require.Equal(t, want.can, can)
		require.ErrorIs(t, err, want.err)
		require.Empty(t, entries(t, s.Root()))
	}
	s := open(t)
	s.readOnly = true
	_, err := s.CanMap(t.Context(), mapper{}, false)
	require.ErrorIs(t, err, driver.ErrReadOnly)
}

func TestAMapIsCheckedBeforeALayerHasIt(t *testing.T) {
	one := mount.IDMap{UIDs: []mount.IDRange{{Size: 1}}, GIDs: []mount.IDRange{{Size: 1}}}
	require.NoError(t, CheckIDMap(nil, false))
	require.NoError(t, CheckIDMap(&one, true))
	require.ErrorIs(t, CheckIDMap(&one, false), driver.ErrUnsupported)
	require.Error(t, CheckIDMap(&mount.IDMap{}, true))
}
