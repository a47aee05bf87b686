package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestScratchDirectoriesOfKilledCommandsGo(t *testing.T) {
	parent := t.TempDir()
	require.NoError(t, os.Chmod(parent, 0o755))
	make := func(name string, mode os.FileMode) string {
		path := filepath.Join(parent, name)
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, "file"), nil, 0o600))
		require.NoError(t, os.Chmod(path, mode))
		return path
	}
	dead := make(probePrefix+"dead", 0o700)
	open := make(probePrefix+"open", 0o755) // not made by a probe
	other := make(".snapctl-other", 0o700)
	file := filepath.Join(parent, probePrefix+"file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	link := filepath.Join(parent, probePrefix+"link")
	require.NoError(t, os.Symlink(other, link))

	alive, err := makeProbeDir(parent)
	require.NoError(t, err)
	require.NoDirExists(t, dead)
	second, err := makeProbeDir(parent)
	require.NoError(t, err)
	require.DirExists(t, alive.path, "its command still runs")
	require.NoError(t, alive.remove())
	require.NoError(t, second.remove())
	require.NoDirExists(t, alive.path)
	for _, path := range []string{open, other, file, link} {
		_, err := os.Lstat(path)
		require.NoError(t, err)
	}
}

func TestANameProvesNothingWhereOthersCanRename(t *testing.T) {
	parent := t.TempDir()
	require.NoError(t, unix.Chmod(parent, 0o777))
	dead := filepath.Join(parent, probePrefix+"dead")
	require.NoError(t, os.Mkdir(dead, 0o700))
	removeDeadProbes(parent)
	require.DirExists(t, dead)
	require.NoError(t, unix.Chmod(parent, 0o1777))
	removeDeadProbes(parent)
	require.NoDirExists(t, dead)
}
