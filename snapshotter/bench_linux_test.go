package snapshotter

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
)

// benchEachBackend runs fn on a store of every backend that works here. The
// store has a chain of snapshots "0", "1" and so on, each with one file over
// the one before.
func benchEachBackend(b *testing.B, depth int, fn func(b *testing.B, s *Snapshotter, top string)) {
	for _, name := range all.Names() {
		b.Run(name, func(b *testing.B) {
			s := openAt(b, freshDir(b, alltest.Place(b, b.TempDir(), name)), Options{Driver: name})
			top := ""
			for i := range depth {
				next := fmt.Sprint(i)
				commit(b, s, next, top, layerTar("file-"+next))
				top = next
			}
			fn(b, s, top)
		})
	}
}

// BenchmarkPrepareMountsCommitRemove measures the life of one snapshot. It does
// not mount the snapshot or write to it.
func BenchmarkPrepareMountsCommitRemove(b *testing.B) {
	benchEachBackend(b, 5, func(b *testing.B, s *Snapshotter, top string) {
		for b.Loop() {
			require.NoError(b, s.Create(b.Context(), "key", top))
			mountsOf(b, s, "key")
			require.NoError(b, s.Commit(b.Context(), "name", "key"))
			require.NoError(b, s.Remove(b.Context(), "name"))
		}
	})
}

// BenchmarkPrepareCommit does not remove what it commits.
func BenchmarkPrepareCommit(b *testing.B) {
	benchEachBackend(b, 5, func(b *testing.B, s *Snapshotter, top string) {
		for i := 0; b.Loop(); i++ {
			require.NoError(b, s.Create(b.Context(), "key", top))
			require.NoError(b, s.Commit(b.Context(), fmt.Sprint("name-", i), "key"))
		}
	})
}

// BenchmarkMounts asks how to mount an active snapshot over 100 layers.
func BenchmarkMounts(b *testing.B) {
	benchEachBackend(b, 100, func(b *testing.B, s *Snapshotter, top string) {
		require.NoError(b, s.Create(b.Context(), "key", top))
		for b.Loop() {
			mountsOf(b, s, "key")
		}
	})
}

// mountsOf asks how to mount an active snapshot. It skips the benchmark when
// the backend cannot do that.
func mountsOf(b *testing.B, s *Snapshotter, key string) {
	b.Helper()
	_, err := s.Mounts(b.Context(), key)
	if !s.Driver().Properties().MountsWritable {
		b.Skipf("the backend does not mount writable layers here: %v", err)
	}
	require.NoError(b, err)
}
