package layerdir

import (
	"os"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// disinherit makes sure that layers do not inherit ACLs or the group of the
// directories above the store; see [sys.Disinherit].
func disinherit(dir *os.File) error { return sys.Disinherit(int(dir.Fd()), 0o700) }
