package mount

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// As long as a disk that has failed a write has told nobody, overlay refuses
// volatile with EIO. Any other error of the disk says nothing of overlay.
func TestOnlyVolatileIsGivenUpForAnErrorOfTheDisk(t *testing.T) {
	var f Features
	require.NoError(t, f.options(func(options []string) error {
		if slices.Contains(options, "volatile") {
			return unix.EIO
		}
		return nil
	}))
	require.Equal(t, Features{RedirectDir: true, Metacopy: true, Xino: true, UUID: true}, f)

	for name, err := range map[string]error{"of overlay": unix.EIO, "of the probe": unproven{unix.EIO}, "of the probe, another": unproven{unix.EPERM}} {
		var f Features
		got := f.options(func([]string) error { return err })
		require.ErrorIs(t, got, err, name)
		require.NotErrorIs(t, got, ErrUnsupported, name)
	}
	tried := 0
	var g Features
	err := g.options(func([]string) error { tried++; return unproven{unix.EIO} })
	require.ErrorIs(t, err, unix.EIO)
	require.Equal(t, 1, tried, "it is no reason to leave volatile out")
}
