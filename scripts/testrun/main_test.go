package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets the test run this binary as the command testrun.
func TestMain(m *testing.M) {
	if os.Getenv("LAYERKEEP_TEST_AS_TESTRUN") != "" {
		main()
	}
	os.Exit(m.Run())
}

func TestTheDirectoryOfTheProgramDoesNotStay(t *testing.T) {
	for command, want := range map[string]int{"true": 0, "/there is no such command": 1} {
		dir := filepath.Join(t.TempDir(), "build")
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "program"), nil, 0o600))
		self, err := os.Executable()
		require.NoError(t, err)
		cmd := exec.Command(self, "run", "-remove", dir, "--", command)
		cmd.Env = append(os.Environ(), "LAYERKEEP_TEST_AS_TESTRUN=yes")
		out, _ := cmd.CombinedOutput() // the status says it
		require.Equal(t, want, cmd.ProcessState.ExitCode(), "%s", out)
		require.NoDirExists(t, dir)
	}
}
