package snapshotter

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
)

func TestTheHolderOfAStoreIsFoundWithItsAddress(t *testing.T) {
	root, disk := memDir(t), newFakeDisk()
	_, ok := HolderOf(root)
	require.False(t, ok, "of no store")

	s, err := Open(t.Context(), root, Options{open: disk.open, Address: "/run/x.sock"})
	require.NoError(t, err)
	h, ok := HolderOf(root)
	require.True(t, ok)
	require.Equal(t, Holder{PID: os.Getpid(), Address: "/run/x.sock"}, h)

	_, err = Open(t.Context(), root, Options{open: disk.open, LockTimeout: -1})
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, "process "+strconv.Itoa(os.Getpid()))
	require.ErrorContains(t, err, "/run/x.sock")

	require.NoError(t, s.Close())
	_, ok = HolderOf(root)
	require.False(t, ok, "of a closed one")
}

func TestAHolderThatWasKilledHoldsNothing(t *testing.T) {
	root := memDir(t)
	process, release := hold(t, root)
	h, ok := HolderOf(root)
	require.True(t, ok)
	require.Equal(t, Holder{PID: process.Pid}, h)
	require.NoError(t, process.Kill())
	release()
	_, ok = HolderOf(root)
	require.False(t, ok)
	raw, err := os.ReadFile(filepath.Join(root, lockName))
	require.NoError(t, err)
	require.NotEmpty(t, raw, "though its signature is there")
}

func TestOnlyWholeLinesOfASignatureCount(t *testing.T) {
	for text, want := range map[string]Holder{
		"":                        {},
		"12":                      {PID: 12},
		"12\n":                    {PID: 12},
		"12\n/run/x":              {PID: 12},
		"12\n/run/x.sock\n":       {PID: 12, Address: "/run/x.sock"},
		"12\n/run/x.sock\nmore\n": {PID: 12, Address: "/run/x.sock"},
		"12\nx.sock\n":            {PID: 12},
		"12\n\n":                  {PID: 12},
		"x\n/run/x.sock\n":        {},
		"-1\n/run/x.sock\n":       {},
		"0\n":                     {},
		strings.Repeat("1", 4096): {},
		"12\n/" + strings.Repeat("x", 2*maxAddress) + "\n": {PID: 12},
	} {
		path := filepath.Join(t.TempDir(), "lock")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		f, err := os.Open(path)
		require.NoError(t, err)
		require.Equal(t, want, holder(f), text)
		require.NoError(t, f.Close())
	}
}

func TestAnAddressIsAPathOnOneLine(t *testing.T) {
	for _, address := range []string{"relative", "/two\nlines", "/nul\x00", "/" + strings.Repeat("x", maxAddress)} {
		_, err := Open(t.Context(), memDir(t), Options{open: newFakeDisk().open, Address: address})
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, "%.20q", address)
	}
}
