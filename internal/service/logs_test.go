package service

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/service/config"
)

func TestALogFileIsOpenedAnew(t *testing.T) {
	c := config.Default()
	c.LogFile = filepath.Join(t.TempDir(), "log")
	logs, err := OpenLogs(c, nil)
	require.NoError(t, err)
	logs.Info("one")
	require.NoError(t, os.Rename(c.LogFile, c.LogFile+".1"))
	logs.Info("two")
	require.NoError(t, logs.Reopen())
	logs.Info("three")
	require.NoError(t, logs.Close())

	old, err := os.ReadFile(c.LogFile + ".1")
	require.NoError(t, err)
	require.Contains(t, string(old), "one")
	require.Contains(t, string(old), "two")
	now, err := os.ReadFile(c.LogFile)
	require.NoError(t, err)
	require.Contains(t, string(now), "three")
	require.NotContains(t, string(now), "two")
	info, err := os.Stat(c.LogFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestALogGoesOnWhenItsFileCannotBeOpenedAnew(t *testing.T) {
	c := config.Default()
	c.LogFile = filepath.Join(t.TempDir(), "dir", "log")
	_, err := OpenLogs(c, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.Mkdir(filepath.Dir(c.LogFile), 0o700))
	logs, err := OpenLogs(c, nil)
	require.NoError(t, err)
	moved := filepath.Dir(c.LogFile) + ".moved"
	require.NoError(t, os.Rename(filepath.Dir(c.LogFile), moved))
	require.Error(t, logs.Reopen())
	logs.Info("still here")
	require.NoError(t, logs.Close())
	got, err := os.ReadFile(filepath.Join(moved, "log"))
	require.NoError(t, err)
	require.Contains(t, string(got), "still here")
}

func TestTheLevelOfALogCanChange(t *testing.T) {
	var b bytes.Buffer
	c := config.Default()
	c.LogFormat, c.LogLevel = "json", "warn"
	logs, err := OpenLogs(c, &b)
	require.NoError(t, err)
	logs.Info("no")
	logs.SetLevel("debug")
	logs.Debug("yes", "key", "k")
	var line map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &line), b.String())
	require.Equal(t, "yes", line["msg"])
	require.Equal(t, "k", line["key"])
}
