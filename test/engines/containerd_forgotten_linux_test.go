package engines

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestForgottenMountKeepsNoSnapshots removes an image of which a view is
// mounted still, where containerd does not know of it. Nothing of it is a
// snapshot any more, the mount shows all of it, and when that is gone, so are
// the layers.
func TestForgottenMountKeepsNoSnapshots(t *testing.T) {
	requirements(t, containerd2+"/containerd", containerd2+"/ctr")
	for _, backend := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run(backend, func(t *testing.T) {
			l := newLife(t, containerd2, backend, settings{deployed: "config-2.toml"})
			l.c.ctr(t, "images", "import", "--snapshotter", snapshotter, "--base-name", "imported/image", l.img.archive)
			target, forgotten := t.TempDir(), t.TempDir()
			l.c.ctr(t, "images", "mount", "--snapshotter", snapshotter, imported, target)
			run(t, "mount", "--bind", target, forgotten)
			mounted := true
			unmount := func() {
				if mounted {
					mounted = false
					run(t, "umount", forgotten)
				}
			}
			defer unmount()
			l.c.ctr(t, "images", "unmount", "--snapshotter", snapshotter, "--rm", target)

			l.removeImage(t, imported)
			eventually(t, readyWithin, func() error {
				if left := l.s.snapshots(t); len(left) > 0 {
					return fmt.Errorf("snapshots left over: %v", left)
				}
				return nil
			})
			tree := fstest.FromPath(t, forgotten)
			root := tree["."]
			root.Mtime = l.img.tree["."].Mtime
			tree["."] = root
			fstest.RequireEqual(t, l.img.tree, tree, "what is mounted still")

			unmount()
			l.s.snapctl(t, "gc")
			require.Empty(t, l.s.layerDirs(t))
			l.requireEmpty(t)
		})
	}
}
