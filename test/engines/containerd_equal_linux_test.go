package engines

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// TestUnpackAsBuiltIn unpacks with a containerd 2 in every way that it has, and
// compares the tree with that of containerd's own snapshotter and differ.
func TestUnpackAsBuiltIn(t *testing.T) {
	requirements(t, containerd2+"/containerd", containerd2+"/ctr")
	own := newLife(t, containerd2, "overlay2", settings{snapshotter: "overlayfs", noSnapshots: true})
	own.c.ctr(t, "images", "import", "--snapshotter", "overlayfs", "--base-name", "imported/image", own.img.archive)
	want := own.tree(t, imported, "overlayfs")
	fstest.RequireEqual(t, own.img.tree, want, "what containerd's own snapshotter makes of the image")

	for _, c := range []struct {
		name     string
		settings settings
		backends []string
		recorded string
	}{
		{"our differ", settings{differ: true}, []string{"overlay2", "btrfs", "vfs"}, "differ"},
		{"parallel unpack by containerd", settings{rebase: true, unpacks: 4}, []string{"overlay2"}, "parallel unpack"},
		{"parallel unpack by our differ", settings{rebase: true, unpacks: 4, differ: true}, []string{"overlay2"}, "parallel unpack with differ"},
	} {
		for _, backend := range c.backends {
			t.Run(c.name+" on "+backend, func(t *testing.T) {
				l := newLife(t, containerd2, backend, c.settings)
				l.img = own.img
				name := l.pulls(t)
				fstest.RequireEqual(t, want, l.tree(t, name, snapshotter), "the tree unpacked by "+c.name)
				if c.settings.rebase {
					l.requireRebased(t)
				}
				if c.settings.differ {
					l.requireOurDiffer(t)
				}
				l.did(t, c.recorded)
				l.removeImage(t, name)
				l.requireEmpty(t)
			})
		}
	}
}

// requireRebased requires that a layer other than the first was prepared
// without a parent: the log of the service says one call a line.
func (l *life) requireRebased(t testing.TB) {
	t.Helper()
	alone := 0
	for _, line := range l.calls(t, "op=Prepare ") {
		if strings.Contains(line, "extract-") && !strings.Contains(line, " parent=") {
			alone++
		}
	}
	require.Greater(t, alone, 1, "layers that were prepared without a parent")
}

func (l *life) requireOurDiffer(t testing.TB) {
	t.Helper()
	require.Len(t, l.calls(t, "op=Apply "), l.img.layers, "layers that our differ applied")
}

// calls lists the lines of the service's log with these words.
func (l *life) calls(t testing.TB, words string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(l.s.output(t)) {
		if strings.Contains(line, words) {
			lines = append(lines, line)
		}
	}
	return lines
}
