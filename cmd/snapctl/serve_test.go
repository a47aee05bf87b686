package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func runServeArgs(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), streams{In: bytes.NewReader(nil), Out: &stdout, Err: &stderr}, append([]string{"serve"}, args...))
	return code, stdout.String(), stderr.String()
}

func TestServePrintsSettingsThatItReadsAgain(t *testing.T) {
	code, first, errs := runServeArgs(t, "--print-config", "--root", "/a", "--address", "/b.sock", "--engine", "x=/c.sock", "--graphdriver", "lk", "--log-level", "debug")
	require.Zero(t, code, errs)
	for _, line := range []string{`root = "/a"`, `address = "/b.sock"`, `"x" = "/c.sock"`, `graphdriver = ["lk"]`, `log-level = "debug"`} {
		require.Contains(t, first, line)
	}
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte(first), 0o600))
	code, second, errs := runServeArgs(t, "--print-config", "--config", file)
	require.Zero(t, code, errs)
	require.Equal(t, first, second)
	_, third, _ := runServeArgs(t, "--print-config", "--config", file, "--root", "/flag")
	require.Contains(t, third, `root = "/flag"`)
	t.Setenv(rootEnv, "/env")
	_, fourth, _ := runServeArgs(t, "--print-config", "--config", file)
	require.Contains(t, fourth, `root = "/env"`)
}

func TestServeNamesMistakesInItsSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	require.NoError(t, os.WriteFile(file, []byte("root = \"/a\"\nadress = \"/b\"\n"), 0o600))
	code, _, errs := runServeArgs(t, "--config", file)
	require.Equal(t, exitInvalid, code)
	require.Contains(t, errs, `line 2: there is no key "adress"`)
	code, _, errs = runServeArgs(t, "--config", filepath.Join(t.TempDir(), "missing"))
	require.NotZero(t, code)
	require.Contains(t, errs, "missing")
	for _, args := range [][]string{
		{"--metrics-address", "0.0.0.0:1"},
		{"--pprof-address", "example.com:1"},
		{"--engine", "x"},
		{"--stop-timeout", "soon"},
		{"--address", "relative"},
		{"--log-format", "xml"},
	} {
		code, _, errs := runServeArgs(t, args...)
		require.Equal(t, exitUsage, code, errs)
	}
}
