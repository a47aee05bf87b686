package tar

import (
	"context"
	"os"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A Target is the place that a [Delta] is merged into.
type Target struct {
	// Root is the directory that holds the layer's own files: the upper
	// directory of an overlay, or the whole tree.
	Root *os.File
	// Below is the merged tree of the parents, without Root. It is nil when
	// Root is the whole tree. Merge does not close it.
	Below diff.View
	// Encoding says how Merge writes removals of files in Below into Root. When
	// Below is nil, it only says how to read attributes and marks that Root
	// already has.
	Encoding whiteout.Encoding
	// NoFchmodat2 avoids that system call, as on a kernel before 6.6.
	NoFchmodat2 bool
}

// Merge moves the delta out of its staging directory into the target. Removals
// come first, and touch only what the target had before. A directory that only
// gains or loses children keeps its attributes and times.
//
// In an empty Root the number of steps is the number of whiteouts and opaque
// marks, of directories without an entry, and of top-level names.
//
// After any error but [ErrTorn] the target is as before. Merge returns
// [ErrNeedsParents] for a detached delta when the parents have something other
// than a directory where the layer needs a directory; the delta can then be
// merged elsewhere. After any other error the staging directory can only be
// deleted. After success it contains the replaced files, and should be deleted
// too.
func (d *Delta) Merge(ctx context.Context, t Target) error {
	return d.merge(ctx, t)
}
