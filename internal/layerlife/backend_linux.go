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

// A Layer is a layer as its record says.
type Layer struct {
	ID driver.ID
	layerdir.Meta
}

// A Backend has the methods in which backends differ. The caller checks first
// that the layer exists and that its state allows the call. The caller also
// adds the names of the backend and the layer to errors.
type Backend interface {
	// Name and Properties are those of the [driver.Driver].
	Name() string
	Properties() driver.Properties

	// Make fills dir, which becomes the directory of a new layer. A view needs
	// nothing in it.
	Make(ctx context.Context, dir string, l *Layer) error

	// Mounts says how the view of the layer is mounted.
	Mounts(ctx context.Context, l Layer, opts driver.MountOptions) ([]mount.Mount, error)

	// View opens the merged tree of the layer.
	View(ctx context.Context, l Layer) (diff.View, error)

	// Sides opens the trees that [driver.Driver].Sides returns. It is not called
	// for a view.
	Sides(ctx context.Context, l Layer) (parents, layer diff.View, err error)

	// Target says where a stream is unpacked, and how that gets into the layer. The
	// caller closes it.
	Target(ctx context.Context, l Layer, opts driver.ApplyOptions) (*Target, error)

	// CheckWriters returns an error matching [driver.ErrBusy] when somebody can
	// write to the layer through a mount that this mount namespace does not show.
	CheckWriters(ctx context.Context, id driver.ID) error

	// Prepare makes the layer what it is to be for ever, before it is put on disk;
	// Settle comes after that, sets the usage, and does what makes the layer
	// immutable. Both may change the record, and can be repeated.
	Prepare(ctx context.Context, l *Layer) error
	Settle(ctx context.Context, l *Layer) error

	// Usage counts what a layer takes that is not sealed and no view.
	Usage(ctx context.Context, l Layer) (driver.Usage, error)
}

// A Target is where a layer stream goes.
type Target struct {
	// Staging is an empty directory, and Options say how the stream is unpacked
	// there.
	Staging *os.File
	Options tar.UnpackOptions
	// Unpacked, unless nil, is called when all of the stream is in Staging, before
	// Merge.
	Unpacked func(delta *tar.Delta) error
	// Merge moves what was unpacked into the layer, whole or not at all unless the
	// error matches [tar.ErrTorn].
	Merge func(ctx context.Context, delta *tar.Delta) error
	// Keep, unless nil, is called in the place of Merge: the layer waits for its
	// parents.
	Keep func(delta *tar.Delta) error
	// Close removes what is left in Staging.
	Close func()
}
