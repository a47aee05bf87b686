package mount_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// An overlay that cannot be written to is no writable one: a program would find
// out when it is too late.
func TestAnOverlayWithoutInodesForItsWorkDirectoryIsNotMounted(t *testing.T) {
	dir := fstest.ScratchSize(t, fstest.Ext4, 16)
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "m", "fill"} {
		require.NoError(t, os.Mkdir(at(name), 0o755))
	}
	files := 0
	for err := error(nil); !errors.Is(err, unix.ENOSPC); files++ {
		err = unix.Mknod(at(fmt.Sprintf("fill/%d", files)), unix.S_IFREG, 0)
		if !errors.Is(err, unix.ENOSPC) {
			require.NoError(t, err)
		}
	}
	m := mount.Mount{Type: "overlay", Source: "test", Overlay: &mount.Overlay{Lower: []string{at("lower")}, Upper: at("upper"), Work: at("work")}}
	for _, way := range []mount.Way{mount.WayDescriptors, mount.WayMount2} {
		for _, options := range [][]string{nil, {"volatile"}} {
			m.Options = options
			mounter := mount.Mounter{First: way}
			err := mounter.All(t.Context(), []mount.Mount{m}, at("m"))
			require.ErrorIs(t, err, unix.ENOSPC)
			require.ErrorContains(t, err, "read-only")
			require.ErrorIs(t, mount.Unmount(at("m")), mount.ErrNotMounted)
		}
	}
	for i := range 8 {
		require.NoError(t, os.Remove(at(fmt.Sprintf("fill/%d", i))))
	}
	m.Options = nil
	require.NoError(t, mount.All(t.Context(), []mount.Mount{m}, at("m")))
	require.NoError(t, os.WriteFile(at("m/f"), nil, 0o600))
	require.NoError(t, mount.Unmount(at("m")))
}
