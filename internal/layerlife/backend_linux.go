package layerlife

import (
	"context"
	"os"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/tar"
)

// A Layer is the ID and the record of a layer.
type Layer struct {
	ID driver.ID
	layerdir.Meta
}

// A Backend has the methods in which backends differ. The caller checks first
// that the layer exists and that its state allows the call. The caller also
// adds the names of the backend and the layer to errors.
type Backend interface {
	// Name and Properties return what the methods of [driver.Driver] return.
	Name() string
	Properties() driver.Properties

	// Make fills dir, which becomes the directory of a new layer. For a view it may
	// leave dir empty.
	Make(ctx context.Context, dir string, l *Layer) error

	// Mounts returns how to mount the merged tree of the layer.
	Mounts(ctx context.Context, l Layer, opts driver.MountOptions) ([]mount.Mount, error)

	// View opens the merged tree of the layer.
	View(ctx context.Context, l Layer) (diff.View, error)

	// Sides opens the trees that [driver.Driver].Sides returns. It is not called
	// for a view.
	Sides(ctx context.Context, l Layer) (parents, layer diff.View, err error)

	// Target returns where a layer tar is unpacked, and how the delta gets into the
	// layer. The caller calls the target's Close.
	Target(ctx context.Context, l Layer, opts driver.ApplyOptions) (*Target, error)

	// CheckWriters returns an error matching [driver.ErrBusy] if a process can
	// write to the layer through a mount that is not in this mount namespace.
	CheckWriters(ctx context.Context, id driver.ID) error

	// Prepare gives the layer its final content before it is synced. Settle runs
	// after the sync: it sets the usage and makes the layer immutable. Both may
	// change the record. Both must be repeatable.
	Prepare(ctx context.Context, l *Layer) error
	Settle(ctx context.Context, l *Layer) error

	// Usage counts what a writable layer takes.
	Usage(ctx context.Context, l Layer) (driver.Usage, error)
}

// A Target is where a layer tar is unpacked.
type Target struct {
	// Staging is an empty directory. Options say how the layer tar is unpacked
	// there.
	Staging *os.File
	Options tar.UnpackOptions
	// Unpacked, unless nil, is called after the whole layer tar was unpacked into
	// Staging, and before Merge or Keep.
	Unpacked func(delta *tar.Delta) error
	// Merge moves the delta into the layer. On an error it leaves the layer as it
	// was, unless the error matches [tar.ErrTorn].
	Merge func(ctx context.Context, delta *tar.Delta) error
	// Keep, unless nil, is called instead of Merge. It stores the delta of a
	// detached layer, which does not have its parents yet.
	Keep func(delta *tar.Delta) error
	// Close removes what is left in Staging.
	Close func()
}
