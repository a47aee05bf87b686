package layerdir

import (
	"crypto/sha256"
	"encoding/hex"
)

// Label returns the source under which a layer's overlay appears in the mount
// table: the layer's path, or a digest of it where that would be over what
// fsconfig(2) takes (255 bytes).
func Label(path string) string {
	if len(path) <= 255 {
		return path
	}
	sum := sha256.Sum256([]byte(path))
	return "layerkeep:" + hex.EncodeToString(sum[:])
}
