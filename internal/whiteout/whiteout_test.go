package whiteout

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseTellsMarkersFromNames(t *testing.T) {
	for name, want := range map[string]struct {
		kind   Kind
		target string
	}{
		"x": {None, ""}, "": {None, ""}, ".wh": {None, ""}, "a.wh.b": {None, ""}, ".WH.x": {None, ""},
		".wh.x": {Whiteout, "x"}, ".wh...x": {Whiteout, "..x"}, ".wh.wh.x": {Whiteout, "wh.x"}, ".wh. ": {Whiteout, " "},
		".wh..wh..opq": {Opaque, ""}, ".wh..wh..opq2": {Bookkeeping, ""},
		AUFSBase: {Bookkeeping, ""}, AUFSOrphan: {Bookkeeping, ""}, AUFSPseudo: {Bookkeeping, ""},
	} {
		kind, target, err := Parse(name)
		require.NoError(t, err, name)
		require.Equal(t, want.kind, kind, name)
		require.Equal(t, want.target, target, name)
	}
}

func TestParseRefusesMarkersOfNoName(t *testing.T) {
	for _, name := range []string{".wh.", ".wh..", ".wh..."} {
		_, _, err := Parse(name)
		require.ErrorIs(t, err, ErrName, name)
	}
}

func TestParseUndoesName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z.]{1,8}`).Draw(t, "name")
		if name == "." || name == ".." || strings.HasPrefix(name, Prefix) {
			return
		}
		kind, target, err := Parse(Name(name))
		if err != nil || kind != Whiteout || target != name {
			t.Fatalf("%q became %v %q %v", name, kind, target, err)
		}
	})
}

// TestXattrNamesSurviveTheDisk tests the law of XattrToDisk and XattrFromDisk,
// and that no attribute of a layer is active for overlayfs.
func TestXattrNamesSurviveTheDisk(t *testing.T) {
	parts := rapid.SampledFrom([]string{"trusted.", "user.", "overlay.", "opaque", "redirect", "security.", "selinux", "x"})
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Join(rapid.SliceOfN(parts, 1, 6).Draw(t, "name"), "")
		for _, e := range []Encoding{Plain, Overlay, OverlayUser, AUFS} {
			disk, ok := e.XattrToDisk(name)
			if !ok {
				if name != "security.selinux" {
					t.Fatalf("%s does not carry %q", e, name)
				}
				continue
			}
			if p := e.XattrPrefix(); p != "" && strings.HasPrefix(disk, p) && !strings.HasPrefix(disk, p+escape) {
				t.Fatalf("%s: %q is active on disk as %q", e, name, disk)
			}
			if back, ok := e.XattrFromDisk(disk); !ok || back != name {
				t.Fatalf("%s: %q became %q on disk and %q again", e, name, disk, back)
			}
		}
	})
}

func TestTheEncodingsOwnXattrsAreHidden(t *testing.T) {
	for _, c := range []struct {
		e     Encoding
		name  string
		shown bool
	}{
		{Overlay, "trusted.overlay.opaque", false},
		{Overlay, "trusted.overlay.anything", false},
		{Overlay, "user.overlay.opaque", true},
		{OverlayUser, "user.overlay.redirect", false},
		{OverlayUser, "trusted.overlay.redirect", true},
		{Plain, "trusted.overlay.opaque", true},
		{Plain, "security.selinux", false},
		{Plain, "btrfs.compression", false},
		{Overlay, "btrfs.compression", false},
		{Overlay, "security.capability", true},
	} {
		_, shown := c.e.XattrFromDisk(c.name)
		require.Equal(t, c.shown, shown, "%s %s", c.e, c.name)
	}
}
