package layerdir

import (
	"crypto/sha256"
	"encoding/hex"
)

// Label returns the source of a layer's overlay in the mount table. This is the
// layer's path. If the path is longer than 255 bytes, the limit of fsconfig(2),
// it is a digest of the path.
func Label(path string) string {
	if len(path) <= 255 {
		return path
	}
	sum := sha256.Sum256([]byte(path))
	return "layerkeep:" + hex.EncodeToString(sum[:])
}
