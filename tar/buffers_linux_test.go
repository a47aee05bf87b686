package tar

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A process that unpacks many small layers must not allocate large buffers each
// time.
func TestSmallLayersShareTheirBuffers(t *testing.T) {
	requireRoot(t)
	layer := fstest.Layer(t, fstest.Dir("d"), fstest.File("d/f", "body"), fstest.File("g", "another"))
	for name, stream := range map[string][]byte{"plain": layer, "gzip": gzipped(t, layer), "zstd": zstandard(t, layer)} {
		t.Run(name, func(t *testing.T) {
			// The garbage collector empties a pool, and the race detector drops a quarter
			// of its buffers.
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			const rounds = 64
			unpack := func() {
				_, _, err := unpackNew(t, bytes.NewReader(stream), UnpackOptions{})
				require.NoError(t, err)
			}
			unpack()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range rounds {
				unpack()
			}
			runtime.ReadMemStats(&after)
			each := (after.TotalAlloc - before.TotalAlloc) / rounds
			t.Logf("%d bytes for each layer", each)
			require.Less(t, each, uint64(arenaSize/2))
		})
	}
}
