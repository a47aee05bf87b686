// Package alltest finds places for the stores of tests: directories on which a
// backend works. For tests only.
package alltest

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Works returns why the backend called name does not work in dir, nil where it
// does. For root any other reason than [driver.ErrUnsupported] fails the test.
func Works(tb testing.TB, dir, name string) error {
	tb.Helper()
	root, err := os.MkdirTemp(dir, "probe-")
	require.NoError(tb, err)
	defer func() { require.NoError(tb, fstest.RemoveAll(root)) }()
	d, _, err := all.Select(context.Background(), root, name, driver.Options{})
	if err != nil {
		require.True(tb, errors.Is(err, driver.ErrUnsupported) || os.Geteuid() != 0, "%v", err)
		return err
	}
	require.NoError(tb, d.Close())
	return nil
}

// Place returns a directory on which the backend called name works: dir, or one
// on a scratch btrfs. Where it does on neither the test is skipped, and told
// why.
func Place(tb testing.TB, dir, name string) string {
	tb.Helper()
	return fstest.Place(tb, dir, func(dir string) error { return Works(tb, dir, name) })
}

// inShort is the backend that stands for all with -short: most people use it.
const inShort = "overlay2"

// SkipInShort skips a test of the backend called name with -short, unless the
// backend is the one that stands for all. For tests of what is above the
// backends: these have suites of their own.
func SkipInShort(tb testing.TB, name string) {
	tb.Helper()
	if testing.Short() && name != inShort {
		tb.Skipf("not in short mode: %s stands for all backends there", inShort)
	}
}
