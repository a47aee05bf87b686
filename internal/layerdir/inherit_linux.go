package layerdir

import (
	"os"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// disinherit keeps what the directory above passes on from the layers, see
// [sys.Disinherit].
func disinherit(dir *os.File) error { return sys.Disinherit(int(dir.Fd()), 0o700) }
