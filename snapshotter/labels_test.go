package snapshotter

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func TestLabelsAreBounded(t *testing.T) {
	many := map[string]string{}
	for i := range 300 {
		many[fmt.Sprintf("label-%d", i)] = strings.Repeat("x", 4000)
	}
	s, _ := openFake(t)
	for name, labels := range map[string]map[string]string{
		"one too long":  {"a": strings.Repeat("x", maxLabel)},
		"all too large": many,
	} {
		t.Run(name, func(t *testing.T) {
			opt := snapshots.WithLabels(labels)
			_, err := s.Prepare(t.Context(), name, "", opt)
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			_, err = s.View(t.Context(), name, "", opt)
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			_, err = s.Stat(t.Context(), name)
			require.ErrorIs(t, err, errdefs.ErrNotFound)

			_, err = s.Prepare(t.Context(), name, "", snapshots.WithLabels(map[string]string{"b": strings.Repeat("x", maxLabel-1)}))
			require.NoError(t, err)
			_, err = s.Update(t.Context(), snapshots.Info{Name: name, Labels: labels})
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			_, err = s.Update(t.Context(), snapshots.Info{Name: name, Labels: labels}, "labels")
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			require.ErrorIs(t, s.Commit(t.Context(), name+"-committed", name, opt), errdefs.ErrInvalidArgument)
			info, err := s.Stat(t.Context(), name)
			require.NoError(t, err)
			require.Len(t, info.Labels, 1)
		})
	}
}

// A store may have labels from a version without limits.
func TestLabelsThatAreTooLargeAlreadyDoNotKeepOthersFromBeingChanged(t *testing.T) {
	s, _ := openFake(t)
	_, err := s.Prepare(t.Context(), "key", "")
	require.NoError(t, err)
	require.NoError(t, s.DB().Update(func(tx *meta.Tx) error {
		row, err := tx.Snapshot("key")
		row.Labels = map[string]string{"old": strings.Repeat("x", 2*maxLabels)}
		if err != nil {
			return err
		}
		return tx.UpdateSnapshot(row)
	}))
	_, err = s.Update(t.Context(), snapshots.Info{Name: "key", Labels: map[string]string{"old": "short"}}, "labels.old")
	require.NoError(t, err)
}
