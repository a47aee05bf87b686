package tar

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// needEscapes skips a case with attributes of overlay's own namespace, on a bed
// that reads through an overlay whose kernel does not show escaped attributes.
// Backends refuse such a layer there.
func needEscapes(t *testing.T, c semantics.Case, b bed) {
	t.Helper()
	o, ok := b.(*overlayBed)
	own := func(e fstest.Entry) bool {
		for key := range e.Header().PAXRecords {
			if strings.HasPrefix(key, "SCHILY.xattr.trusted.overlay.") {
				return true
			}
		}
		return false
	}
	has := slices.ContainsFunc(c.Layers, func(l []fstest.Entry) bool { return slices.ContainsFunc(l, own) })
	if ok && o.enc == whiteout.Overlay && has && !escapes(t) {
		t.Skip("this kernel's overlay shows no escaped attributes (Linux 6.7)")
	}
}

// escapes mounts a directory that has an escaped attribute and looks for it.
func escapes(t *testing.T) bool {
	t.Helper()
	b := newOverlayBed(t, fstest.Quick(t))
	require.NoError(t, unix.Lsetxattr(b.layers[0], "trusted.overlay.overlay.probe", []byte("1"), 0))
	_, err := unix.Lgetxattr(b.show(t, 1), "trusted.overlay.probe", nil)
	return err == nil
}
