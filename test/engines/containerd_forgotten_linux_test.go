package engines

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestForgottenMountKeepsNoSnapshots removes an image of which containerd 2 has a
// view mounted still: its mount manager keeps that after "ctr images unmount".
// Nothing of it is a snapshot any more, and when the mount is gone, so are the layers.
func TestForgottenMountKeepsNoSnapshots(t *testing.T) {
	requirements(t, containerd2+"/containerd", containerd2+"/ctr")
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run(backend, func(t *testing.T) {
			l := newLife(t, containerd2, backend, settings{deployed: "config-2.toml"})
			l.c.ctr(t, "images", "import", "--snapshotter", snapshotter, "--base-name", "imported/image", l.img.archive)
			target := t.TempDir()
			l.c.ctr(t, "images", "mount", "--snapshotter", snapshotter, imported, target)
			run(t, "umount", target)
			l.c.ctr(t, "images", "unmount", "--snapshotter", snapshotter, target)
			l.c.ctr(t, "leases", "rm", target) // which would keep it for a day
			l.removeImage(t, imported)
			eventually(t, readyWithin, func() error {
				if left := l.s.snapshots(t); len(left) > 0 {
					return fmt.Errorf("snapshots left over: %v", left)
				}
				return nil
			})
			if len(mountsBelow(t, l.c.dir)) > 0 {
				require.NotEmpty(t, l.s.layerDirs(t), "what is mounted needs its layers")
			}
			for _, mounted := range mountsBelow(t, l.c.dir) {
				run(t, "umount", mounted)
			}
			l.s.snapctl(t, "gc")
			require.Empty(t, l.s.layerDirs(t))
			l.requireEmpty(t)
		})
	}
}
