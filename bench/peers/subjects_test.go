package peers

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench"
	"github.com/layerkeep/layerkeep/bench/synth"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Each snapshotter goes through the life of a layer as the benchmark has it.
func TestASnapshotterOfContainerdIsAStore(t *testing.T) {
	if os.Geteuid() != 0 || !fstest.CanMount(t) {
		t.Skip("needs root: containerd mounts")
	}
	for _, sub := range Subjects() {
		t.Run(sub.Name, func(t *testing.T) {
			ctx, dir := context.Background(), fstest.Scratch(t, fstest.Ext4)
			s, err := sub.Open(ctx, dir)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			require.NoError(t, s.Create(ctx, "base", nil))
			layer := synth.Stream(func(l *synth.Layer) { l.Text("low", "from below\n") })
			defer layer.Close()
			require.NoError(t, s.Apply(ctx, "base", layer))
			require.NoError(t, s.Seal(ctx, "base"))
			require.NoError(t, s.Seal(ctx, "base"), "twice")
			u, err := s.Usage(ctx, "base")
			require.NoError(t, err)
			require.Positive(t, u.Inodes)

			require.NoError(t, s.Create(ctx, "top", []string{"base"}))
			target := t.TempDir()
			require.NoError(t, s.Mount(ctx, "top", target, bench.MountOptions{}))
			low, err := os.ReadFile(filepath.Join(target, "low"))
			require.NoError(t, err)
			require.Equal(t, "from below\n", string(low))
			require.NoError(t, os.WriteFile(filepath.Join(target, "new"), []byte("x"), 0o600))
			require.NoError(t, s.Unmount(target))
			var diff bytes.Buffer
			require.NoError(t, s.Diff(ctx, "top", &diff))
			require.Contains(t, diff.String(), "new")
			require.False(t, strings.Contains(diff.String(), "from below"), "it is not of this layer")

			require.NoError(t, s.Mount(ctx, "base", target, bench.MountOptions{}))
			require.FileExists(t, filepath.Join(target, "low"))
			require.Error(t, os.WriteFile(filepath.Join(target, "no"), nil, 0o600), "it is sealed")
			require.NoError(t, s.Unmount(target))
			require.NoError(t, s.Diff(ctx, "base", io.Discard))
			require.NoError(t, s.Remove(ctx, "top"))
			require.NoError(t, s.Remove(ctx, "base"))
			require.NoError(t, s.Cleanup(ctx))
		})
	}
}
