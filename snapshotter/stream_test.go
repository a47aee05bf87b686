package snapshotter

import (
	"context"
	"fmt"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"
)

func TestAStreamShowsEverySnapshotOnceWhateverIsCommittedMeanwhile(t *testing.T) {
	s, _ := openFake(t)
	for i := range 2*streamBatch + 10 {
		require.NoError(t, s.Create(t.Context(), fmt.Sprintf("m-%04d", i), ""))
	}
	shown := map[string]int{}
	require.NoError(t, s.Stream(t.Context(), func(ctx context.Context, info snapshots.Info) error {
		shown[info.Name]++
		if len(shown) == 1 { // fn may call any method
			require.NoError(t, s.Commit(ctx, "a-was-400", fmt.Sprintf("m-%04d", 400))) // the stream would miss it
			require.NoError(t, s.Commit(ctx, "z-was-3", fmt.Sprintf("m-%04d", 3)))     // the stream would show it twice
			require.NoError(t, s.Commit(ctx, "z-was-500", fmt.Sprintf("m-%04d", 500))) // shown with its new name
			require.NoError(t, s.Commit(ctx, "a-was-5", fmt.Sprintf("m-%04d", 5)))     // already read
			require.NoError(t, s.Remove(ctx, fmt.Sprintf("m-%04d", 450)))
		}
		return nil
	}))
	for name, n := range shown {
		require.Equal(t, 1, n, name)
	}
	require.Len(t, shown, 2*streamBatch+10-1)
	require.Contains(t, shown, "a-was-400")
	require.Contains(t, shown, "m-0003")
	require.Contains(t, shown, "z-was-500")
	require.Contains(t, shown, "m-0005")
}
