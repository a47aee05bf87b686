package driver

import (
	"context"
	"io"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/mount"
)

// ID names a layer within one driver, for example "17". An ID is 1 to 128 bytes
// of [A-Za-z0-9_.-] and does not start with a dot; see [ID.Validate]. A driver
// may use it as a file name.
type ID string

// Driver stores layers in one store directory. The package comment has the
// glossary, the life cycle, and the rules that hold for every method: when
// methods return [ErrNotFound] and [ErrInvalidID], concurrency, and
// cancellation.
type Driver interface {
	// Name returns the name of the backend, for example "overlay2". The
	// snapshotter records it in the store, so it must never change.
	Name() string

	// Properties returns facts that do not change while the driver is open.
	Properties() Properties

	// Create makes a writable layer over sealed parents, or a view with
	// opts.View. Parents is the complete list, nearest first. Without parents
	// the layer is an empty directory that belongs to root:root, with mode 0755
	// and mtime 0. Not idempotent.
	//
	// Create returns ErrExists when the ID is taken, ErrNotFound when a parent
	// is missing, ErrNotSealed when a parent is not sealed, ErrTooManyLayers
	// for more than Properties.MaxParents parents, and an error for a view
	// without parents. CreateOptions says when it returns ErrUnsupported. After
	// any error nothing of the layer is left on disk.
	Create(ctx context.Context, id ID, parents []ID, opts CreateOptions) error

	// Mount returns how to mount the merged tree of the layer: a list of mount
	// values that [mount.All] mounts one over the other on one target. Mount
	// itself mounts nothing.
	//
	// Mount never changes what the layer contains. The caller may call it at
	// any time and any number of times: the same layer and options give the
	// same list. Sealed layers and views get read-only mounts. Mount returns
	// ErrUnsupported for a writable layer without Properties.MountsWritable.
	Mount(ctx context.Context, id ID, opts MountOptions) ([]mount.Mount, error)

	// ApplyDiff unpacks a layer tar over the merged tree of a writable layer.
	// The tar is uncompressed, or compressed in a way that
	// [tar.NewDecompressor] knows: gzip, zstd, xz or bzip2. ApplyDiff reads it
	// to its end and mounts nothing. A second call applies a second tar over
	// the result of the first. Not idempotent.
	//
	// The layer must not be mounted. Copies of its mount in other mount
	// namespaces become read-only.
	//
	// ApplyDiff returns:
	//
	//   - ErrBusy for a layer that is mounted here, or that a process can write
	//     to in another mount namespace.
	//   - ErrSealed for a sealed layer and for a view.
	//   - ErrInvalidLayer for a stream that cannot be applied.
	//   - ErrUnsupported for a name over Properties.MaxName, for an attribute
	//     of Properties.RefusedXattr, and for opts.Detached without
	//     Properties.Rebase.
	//   - ErrDigest when opts.DiffID is set and the stream has another digest.
	//   - ErrNeedsParents only with opts.Detached.
	//   - ErrTorn for a torn layer.
	//
	// After any error but ErrTorn the layer is as it was before the call.
	//
	// A layer becomes torn when the process is killed during the merge, the
	// last step of ApplyDiff. Every layer that is not sealed becomes torn when
	// the disk fails a write. From then on ApplyDiff and Seal return ErrTorn
	// for it.
	ApplyDiff(ctx context.Context, id ID, layer io.Reader, opts ApplyOptions) (Applied, error)

	// Sides opens the two trees whose difference is the layer: the merged tree
	// of its parents, and its own merged tree. [Changes] and [Diff] compare
	// them.
	//
	// The first is nil for a layer without parents. Both are nil for a view.
	// Directories of the second may implement [diff.Hinter] and so tell where
	// the two trees can differ. Sides works on writable and sealed layers and
	// mounts nothing. The caller closes both.
	Sides(ctx context.Context, id ID) (parents, layer diff.View, err error)

	// View opens the merged tree of the layer for reading, in user space: it
	// mounts nothing and needs no privilege to mount. It works on every layer
	// that is not detached. The caller closes the result.
	View(ctx context.Context, id ID) (diff.View, error)

	// Seal makes the layer immutable and durable: when it returns nil, the
	// whole layer survives a power cut. Idempotent. The layer must not be
	// mounted writable: Seal returns ErrBusy then.
	//
	// Seal returns ErrUnsupported for a view, ErrTorn for a torn layer, and
	// ErrTooManyLayers for a layer with Properties.MaxParents parents, which
	// stays writable.
	Seal(ctx context.Context, id ID) error

	// Remove removes the layer. For the caller this happens at once and in one
	// step: the ID is free when Remove returns. The driver may free the disk
	// space later, see Cleanup. Idempotent: a missing layer is no error.
	//
	// The caller must know that no other layer has this one as a parent, and
	// that it is not mounted. Remove may return ErrBusy for a mounted layer.
	Remove(ctx context.Context, id ID) error

	// Usage returns what this layer alone takes on disk, without its parents.
	// It takes constant time for a sealed layer.
	Usage(ctx context.Context, id ID) (Usage, error)

	// Layers returns the IDs of all layers of the driver, in no particular
	// order. It leaves out foreign and borrowed layers.
	Layers(ctx context.Context) ([]ID, error)

	// Cleanup deletes trash, and what interrupted calls left behind.
	// Idempotent. It may run at the same time as any other call on this driver.
	Cleanup(ctx context.Context) error

	// Close waits for work in the background and releases the driver. Mounts
	// stay mounted.
	Close() error
}
