package tar

import (
	"context"
	"os"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A Target is where a [Delta] goes.
type Target struct {
	// Root is the directory that holds the layer's own files: the upper
	// directory of an overlay, or the whole tree.
	Root *os.File
	// Below is the merged tree of the parents below Root, without Root itself;
	// nil when Root is the whole tree. Merge does not close it.
	Below diff.View
	// Encoding is how removals from Below are written into Root. Without Below
	// it only tells how xattrs and markers already in Root are to be read.
	Encoding whiteout.Encoding
	// NoFchmodat2 keeps away from that system call, as on a kernel before 6.6.
	NoFchmodat2 bool
}

// Merge moves the delta out of its staging directory into the target. Removals
// come first and touch only what the target held before; a directory that only
// gains or loses children keeps its attributes and times.
//
// For an empty Root it costs as many steps as the layer has markers, directories
// without an entry, and top-level names.
//
// A delta that was unpacked detached gives [ErrNeedsParents] when the parents
// turn out to hold something else than a directory where the layer needs one.
// After any error but [ErrTorn] the target is as before. After any but
// [ErrNeedsParents] the staging directory can only be deleted. After success it holds what was replaced and should be deleted
// too.
func (d *Delta) Merge(ctx context.Context, t Target) error {
	return d.merge(ctx, t)
}
