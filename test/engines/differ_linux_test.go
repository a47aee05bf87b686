package engines

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Layers that say something which only their parents give a meaning to, and
// which containerd's own applier refuses or takes for something else when it
// unpacks them side by side: they are unpacked again when they get their
// parents.
func TestLayersThatNeedTheirParentsUnpackSideBySide(t *testing.T) {
	requirements(t, containerd2+"/containerd", containerd2+"/ctr")
	l := newLife(t, containerd2, "overlay2", settings{rebase: true, unpacks: 4, differ: true})
	l.img = makeImage(t, append(layers(t),
		[]fstest.Entry{hardLink("etc/alias", "etc/passwd"), fstest.File("lib/below-a-link", "x\n")},
		[]fstest.Entry{fstest.File("data/old/new", "in a directory without an entry\n"), fstest.Whiteout("etc/group")},
		[]fstest.Entry{hardLink("lib/second", "lib/below-a-link"), fstest.Opaque("data/many"), fstest.File("data/many/only", "o\n")},
	))
	name := l.pulls(t)
	l.requireRebased(t)
	l.requireOurDiffer(t)
	again := 0
	for _, line := range l.calls(t, "op=Commit ") {
		if strings.Contains(line, "code=OK") && strings.Contains(line, " parent=") {
			again++
		}
	}
	require.Equal(t, l.img.layers-1, again, "layers that got their parents at the commit")

	out := l.c.ctr(t, "run", "--rm", "--snapshotter", snapshotter, name, "reads", "/bin/sh", "-c", "cat /etc/alias /usr/lib/below-a-link /lib/second")
	require.Equal(t, "root:x:0:0::/root:/bin/sh\nx\nx\n", out)
	l.removeImage(t, name)
	l.requireEmpty(t)
}
