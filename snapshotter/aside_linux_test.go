package snapshotter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

func TestAMountedViewStaysWholeWhenItsEngineRemovesItsWholeChain(t *testing.T) {
	onEachBackend(t, func(t *testing.T, s *Snapshotter) {
		requireMount(t)
		sc, err := s.Scope("eng")
		require.NoError(t, err)
		ctx := t.Context()
		for _, name := range [][2]string{{"base", ""}, {"top", "base"}} {
			require.NoError(t, sc.Create(ctx, "key", name[1]))
			_, err := sc.Apply(ctx, "key", strings.NewReader(layerTar(name[0])), driver.ApplyOptions{})
			require.NoError(t, err)
			require.NoError(t, sc.Commit(ctx, name[0], "key"))
		}
		mounts, err := s.View(ctx, "@eng/view", "@eng/top")
		require.NoError(t, err)
		target := t.TempDir()
		require.NoError(t, ctdmount.All(mounts, target))
		mounted := true
		unmount := func() {
			if mounted {
				mounted = false
				require.NoError(t, ctdmount.UnmountAll(target, 0))
			}
		}
		defer unmount()

		removeAll(t, sc)
		require.NoError(t, s.Cleanup(ctx))
		s.bg.wait()
		for _, name := range []string{"base", "top"} {
			body, err := os.ReadFile(filepath.Join(target, name))
			require.NoError(t, err)
			require.Equal(t, name, string(body))
		}
		unmount()
		require.NoError(t, s.Cleanup(ctx))
		layers, err := s.Driver().Layers(ctx)
		require.NoError(t, err)
		require.Empty(t, layers)
		require.Empty(t, rowsOf(t, s))
	})
}
