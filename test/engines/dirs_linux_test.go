package engines

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// scratchMiB is the room that one engine has for its own things, or a store.
const scratchMiB = 1024

// workDir returns a directory for an engine's or a store's files, on a file
// system of its own that is gone after the test. For btrfs it is on a btrfs.
func workDir(t testing.TB, backend string) string {
	t.Helper()
	if backend == "btrfs" {
		return fstest.ScratchSize(t, fstest.Btrfs, scratchMiB)
	}
	return fstest.ScratchSize(t, fstest.Tmpfs, scratchMiB)
}

// processesOf lists the processes that name dir in their arguments: daemons and
// shims that should be gone.
func processesOf(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), dir) { // err: it has just ended
			found = append(found, filepath.Base(filepath.Dir(file))+": "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}
