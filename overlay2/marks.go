package overlay2

import (
	"strings"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// marks are overlay's own extended attributes in one encoding:
// "trusted.overlay." or, in a user namespace, "user.overlay.".
type marks struct{ whiteout.Encoding }

// Values of the opaque mark: the directory hides what is below it; the
// directory may hold whiteouts that are regular files.
const (
	opaqueY = "y"
	opaqueX = "x"
)

func (m marks) opaque() string   { return m.Xattr("opaque") }
func (m marks) redirect() string { return m.Xattr("redirect") }
func (m marks) metacopy() string { return m.Xattr("metacopy") }
func (m marks) whiteout() string { return m.Xattr("whiteout") }

// follows reports whether redirects and metacopy have a meaning: the kernel
// refuses to look at them where an unprivileged user can write them.
func (m marks) follows() bool { return m.Encoding == whiteout.Overlay }

// isEscaped reports whether an attribute is one of overlay's own that is kept
// escaped.
func (m marks) isEscaped(attr string) bool {
	shown, ok := m.XattrFromDisk(attr)
	return ok && strings.HasPrefix(shown, m.XattrPrefix())
}
