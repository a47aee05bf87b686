package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// install runs scripts/install with this program as snapctl, and returns the
// directory in front of all paths.
func install(t *testing.T, env ...string) (dest string, out []byte, err error) {
	t.Helper()
	if _, err := exec.LookPath("install"); err != nil {
		t.Skip("install(1) is missing")
	}
	program, err := os.Executable()
	require.NoError(t, err)
	snapctl := filepath.Join(t.TempDir(), "snapctl")
	require.NoError(t, os.Symlink(program, snapctl))
	dest = t.TempDir()
	cmd := exec.Command("../../scripts/install", snapctl)
	cmd.Env = append(append(os.Environ(), "DESTDIR="+dest), env...)
	out, err = cmd.CombinedOutput()
	return dest, out, err
}

func TestInstallPutsEverythingInItsPlace(t *testing.T) {
	dest, out, err := install(t, "PREFIX=/opt/layers")
	require.NoError(t, err, string(out))
	found := map[string]fs.FileMode{}
	require.NoError(t, filepath.WalkDir(dest, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			info, err := e.Info()
			found[strings.TrimPrefix(path, dest)] = info.Mode()
			return err
		}
		return err
	}))
	for path, mode := range map[string]fs.FileMode{
		"/opt/layers/bin/snapctl":                                  0o755,
		"/opt/layers/share/man/man1/snapctl.1":                     0o644,
		"/opt/layers/share/man/man1/snapctl-mount.1":               0o644,
		"/opt/layers/share/bash-completion/completions/snapctl":    0o644,
		"/opt/layers/share/zsh/site-functions/_snapctl":            0o644,
		"/opt/layers/share/fish/vendor_completions.d/snapctl.fish": 0o644,
		"/opt/layers/lib/systemd/system/layerkeep.service":         0o644,
		"/opt/layers/lib/systemd/system/layerkeep.socket":          0o644,
	} {
		require.Equal(t, mode, found[path], path)
	}
	unit, err := os.ReadFile(filepath.Join(dest, "/opt/layers/lib/systemd/system/layerkeep.service"))
	require.NoError(t, err)
	require.Contains(t, string(unit), "ExecStart=/opt/layers/bin/snapctl serve\n")
	page, err := os.ReadFile(filepath.Join(dest, "/opt/layers/share/man/man1/snapctl-rename.1"))
	require.NoError(t, err)
	require.Contains(t, string(page), "rename KEY NEW")
}

func TestInstallRefusesAPlaceThatItCannotName(t *testing.T) {
	for _, prefix := range []string{"usr/local", "/usr|local", "/a b"} {
		dest, out, err := install(t, "PREFIX="+prefix)
		require.Error(t, err, prefix)
		require.Contains(t, string(out), "install: PREFIX")
		left, err := os.ReadDir(dest)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
