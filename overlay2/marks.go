package overlay2

import (
	"strings"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// marks are overlay's own extended attributes in one encoding. Their names
// start with "trusted.overlay." or, in a user namespace, "user.overlay.".
type marks struct{ whiteout.Encoding }

// Values of the opaque mark. With y the directory hides the directory below it.
// With x regular files in the directory may be whiteouts.
const (
	opaqueY = "y"
	opaqueX = "x"
)

func (m marks) opaque() string   { return m.Xattr("opaque") }
func (m marks) redirect() string { return m.Xattr("redirect") }
func (m marks) metacopy() string { return m.Xattr("metacopy") }
func (m marks) whiteout() string { return m.Xattr("whiteout") }

// follows reports whether redirects and metacopy marks have an effect. The
// kernel ignores them if an unprivileged user can write them.
func (m marks) follows() bool { return m.Encoding == whiteout.Overlay }

// isEscaped reports whether an attribute on disk is an escaped attribute of
// overlay.
func (m marks) isEscaped(attr string) bool {
	shown, ok := m.XattrFromDisk(attr)
	return ok && strings.HasPrefix(shown, m.XattrPrefix())
}
