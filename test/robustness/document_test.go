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
	for _, name := range []string{"power cuts", "a disk that lies", "commands that do not sync", "killed processes"} {
		_, err := resultdoc.Part(document, name)
		require.NoError(t, err)
	}
}

func TestTheTableHasARowForEachFileSystemAndBackend(t *testing.T) {
	var r results
	clean, bad := &outcome{fs: "xfs", backend: "vfs", lostWrites: 1}, &outcome{fs: "ext4", backend: "vfs"}
	clean.add(nil)
	clean.add(nil)
	bad.add([]finding{{lost, "a"}, {lost, "b"}, {torn, "c"}})
	bad.add([]finding{{unmounted, "d"}})
	r.add(clean)
	r.add(bad)
	require.Equal(t, `Run on 2026-11-28 with the seed 7.

| file system | backend | cuts | the disk lost writes | lost | torn | stray | a command failed | not mounted |
|---|---|---|---|---|---|---|---|---|
| ext4 | vfs | 2 | 0 | 1 | 1 | 0 | 0 | 1 |
| xfs | vfs | 2 | 1 | 0 | 0 | 0 | 0 | 0 |
`, r.table(7, time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)))
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
