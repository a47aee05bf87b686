package layerkeep

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A Store is one store of snapshots and images: a [Local] one, which this process has open, or the
// client of a service that has it open (package client). Both give the same results, and errors of
// the same kinds with the same texts: those of errdefs, and those of packages driver, snapshotter,
// image and mount, by [errors.Is].
//
// A Store is safe for concurrent use. Its methods order calls on one snapshot by themselves; who
// looks at something first and acts on it then keeps others away with Reserve.
type Store interface {
	// Root is the store's directory, absolute and without symbolic links. Of a store that a
	// service has open it is the path that the service knows.
	Root() string
	// DriverName is the name of the backend, and Properties says what that can.
	DriverName() string
	Properties() driver.Properties

	// Stat returns what is known of a snapshot. An error matches errdefs.ErrNotFound when there
	// is none, as with every method here that gets a key.
	Stat(ctx context.Context, key string) (snapshots.Info, error)
	// Walk calls fn for every snapshot in the order of their names, until it returns an error,
	// which Walk returns.
	Walk(ctx context.Context, fn func(snapshots.Info) error) error
	// WalkStates is Walk with the states of the layers, see
	// [snapshotter.Snapshotter.StreamStates].
	WalkStates(ctx context.Context, fn func(snapshots.Info, snapshotter.LayerState) error) error
	// Damage says what is wrong with the layers of a snapshot, its own first; nil when nothing is.
	Damage(ctx context.Context, key string) ([]snapshotter.LayerDamage, error)
	// Usage is what a snapshot takes, its parents not counted.
	Usage(ctx context.Context, key string) (snapshots.Usage, error)

	// Create makes an active snapshot on a committed one, or on nothing when parent is empty.
	// Where the kernel cannot mount such a snapshot it can still be applied to and committed.
	// Prepare makes one that can be mounted, and View one that only shows its parent.
	// An error matches errdefs.ErrAlreadyExists when the key is taken.
	Create(ctx context.Context, key, parent string, labels map[string]string) error
	Prepare(ctx context.Context, key, parent string, labels map[string]string) error
	View(ctx context.Context, key, parent string, labels map[string]string) error
	// Commit turns the active snapshot key into the committed one called name, which is on disk
	// when Commit returns.
	Commit(ctx context.Context, name, key string, labels map[string]string) error
	// Rename gives another name to a snapshot that is no image's and no engine's. What is
	// built on it follows, and what is mounted goes on.
	Rename(ctx context.Context, key, name string) error
	// Remove removes a snapshot that is no image's and on which none is built. A service
	// refuses to remove an engine's, unless forced.
	Remove(ctx context.Context, key string, force bool) error
	// Mounts says how a snapshot is mounted; nothing is mounted by it.
	Mounts(ctx context.Context, key string, opts driver.MountOptions) ([]mount.Mount, error)

	// Apply unpacks a layer tar, which may be compressed, into an active snapshot.
	Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error)
	// Diff writes what a snapshot changes as an uncompressed layer tar.
	Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error)
	// Changes lists what a snapshot changes, in the order in which Diff writes it. An error ends
	// the list.
	Changes(ctx context.Context, key string) iter.Seq2[diff.Change, error]

	// Images returns all images in the order of their names.
	Images(ctx context.Context) ([]image.Image, error)
	// Image returns the image of a name or digest.
	Image(ctx context.Context, name string) (image.Image, error)
	// Resolve finds the committed snapshot that the name of an image, or a key, means.
	Resolve(ctx context.Context, name string) (image.Resolved, error)
	// Import brings an image into the store.
	Import(ctx context.Context, src image.Source, opts image.ImportOptions) (image.Image, error)
	// Export writes an image, or a committed snapshot as one, as an OCI archive.
	Export(ctx context.Context, name string, w io.Writer, opts image.ExportOptions) (image.Exported, error)
	// RemoveImage removes the name of an image, and what nothing else needs of it.
	RemoveImage(ctx context.Context, name string) (image.Collected, error)
	// Collect frees what nothing uses any more.
	Collect(ctx context.Context) (image.Collected, error)

	// Check looks for damage and tells found of it, see [check.Background]. It reads at most rate
	// bytes in a second, at low priority; 0 is for no limit.
	Check(ctx context.Context, opts check.Options, rate int64, found func(check.Finding)) (check.Summary, error)

	// MountRecords returns what was recorded of mounts, in the order of their names.
	// PutMountRecord writes one, in the place of that of the same name, and DeleteMountRecord
	// removes one; one that is not there is no error.
	MountRecords(ctx context.Context) ([]MountRecord, error)
	PutMountRecord(ctx context.Context, record MountRecord) error
	DeleteMountRecord(ctx context.Context, name string) error

	// Reserve keeps names from others who reserve them: the names mean nothing to the store. It
	// waits for those who have one of them, not longer than patience; then the error matches
	// errdefs.ErrUnavailable. Who has the whole store open shares it with nobody, so nobody has
	// to be waited for.
	Reserve(ctx context.Context, patience time.Duration, names ...string) (Reservation, error)

	// Close ends the use of the store.
	Close() error
}

// A MountRecord is what somebody who mounted a snapshot wants to be kept of it.
type MountRecord struct {
	Name string
	JSON json.RawMessage // an object
}

// A Reservation is what others do not get until it is released.
type Reservation interface {
	// ReleaseOthers releases all but these names.
	ReleaseOthers(names ...string) error
	Release()
}
