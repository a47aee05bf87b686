package robustness

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/resultdoc"
)

const document = "../../docs/durability.md"

var update = flag.Bool("update", false, "write what came of the run into docs/durability.md")

func now() time.Time { return time.Now() }

// The document must have the places that long runs write to.
func TestTheDocumentHasItsPlaces(t *testing.T) {
	for _, name := range []string{"power cuts", "a disk that lies", "commands that do not sync"} {
		table, err := resultdoc.Part(document, name)
		require.NoError(t, err)
		same, err := (&results{}).merge(table)
		require.NoError(t, err, name)
		require.Equal(t, table, same, name)
	}
	_, err := resultdoc.Part(document, "killed processes")
	require.NoError(t, err)
}

func TestTheTableHasARowForEachFileSystemAndBackend(t *testing.T) {
	var r results
	clean, bad := &outcome{fs: "xfs", backend: "vfs", seed: 7, lostWrites: 1}, &outcome{fs: "ext4", backend: "vfs", seed: 8}
	clean.add(nil)
	clean.add(nil)
	bad.add([]finding{{lost, "a"}, {lost, "b"}, {torn, "c"}})
	bad.add([]finding{{unmounted, "d"}})
	r.add(clean)
	r.add(bad)
	clean.ended, bad.ended = time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC), time.Date(2026, 11, 28, 23, 59, 59, 0, time.UTC)
	table, err := r.merge("")
	require.NoError(t, err)
	require.Equal(t, cutsHead+`| ext4 | vfs | 2026-11-28 | 8 | 2 | 0 | 1 | 1 | 0 | 0 | 1 |
| xfs | vfs | 2026-11-28 | 7 | 2 | 1 | 0 | 0 | 0 | 0 | 0 |
`, table)

	again := results{all: []*outcome{{fs: "xfs", backend: "overlay2", seed: 9, cuts: 3}, {fs: "xfs", backend: "vfs", seed: 9, cuts: 4}}}
	for _, o := range again.all {
		o.ended = time.Date(2026, 11, 29, 1, 2, 3, 0, time.UTC)
	}
	table, err = again.merge(table)
	require.NoError(t, err)
	require.Equal(t, cutsHead+`| ext4 | vfs | 2026-11-28 | 8 | 2 | 0 | 1 | 1 | 0 | 0 | 1 |
| xfs | overlay2 | 2026-11-29 | 9 | 3 | 0 | 0 | 0 | 0 | 0 | 0 |
| xfs | vfs | 2026-11-29 | 9 | 4 | 0 | 0 | 0 | 0 | 0 | 0 |
`, table)
	_, err = again.merge("| something else |\n")
	require.ErrorContains(t, err, "not a table of cuts")
}

func TestTheTableOfKillsHasARowForEachProcessAndSignal(t *testing.T) {
	var s kills
	for range 2 {
		s.add(&killOutcome{fs: "ext4", backend: "vfs", signal: "killed", kills: 5, hits: 4})
		s.add(&killOutcome{fs: "ext4", backend: "vfs", signal: "killed", served: true, kills: 5, hits: 5, broken: 1})
	}
	require.Equal(t, `Run on 2026-11-28 with the seed 7.

| file system | backend | process | signal | commands | killed at work | lost or torn |
|---|---|---|---|---|---|---|
| ext4 | vfs | the command | killed | 10 | 8 | 0 |
| ext4 | vfs | the service | killed | 10 | 10 | 2 |
`, s.table(7, time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)))
}
