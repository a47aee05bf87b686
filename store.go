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

// A Store is one store of snapshots and images. A [Local] store is open in this
// process. A client (package client) uses the store that a service has open.
// Both give the same results. Both return errors of the same kinds with the
// same texts: match them with [errors.Is] against the errors of errdefs and of
// packages driver, snapshotter, image and mount.
//
// A Store is safe for concurrent use, also for calls on one snapshot: it orders
// them itself. A caller that first looks at something and then acts on it uses
// Reserve to keep other callers away in between.
//
// A method that takes the key of a snapshot returns an error that matches
// errdefs.ErrNotFound when there is no such snapshot.
type Store interface {
	// Root returns the directory of the store, absolute and without symbolic
	// links. For a store that a service has open, it is the path that the
	// service sees.
	Root() string
	// DriverName returns the name of the backend, for example "overlay2".
	// Properties returns what the backend can do here.
	DriverName() string
	Properties() driver.Properties

	// Stat returns the parent, kind, labels and times of a snapshot.
	Stat(ctx context.Context, key string) (snapshots.Info, error)
	// Walk calls fn for every snapshot, sorted by name. When fn returns an
	// error, Walk stops and returns it.
	Walk(ctx context.Context, fn func(snapshots.Info) error) error
	// WalkStates is Walk with the state of each layer, see
	// [snapshotter.Snapshotter.StreamStates].
	WalkStates(ctx context.Context, fn func(snapshots.Info, snapshotter.LayerState) error) error
	// Damage returns what is wrong with the layers of a snapshot, its own layer
	// first. It returns nil when nothing is wrong.
	Damage(ctx context.Context, key string) ([]snapshotter.LayerDamage, error)
	// Usage returns what a snapshot takes on disk, without its parents.
	Usage(ctx context.Context, key string) (snapshots.Usage, error)

	// Create makes an active snapshot over the committed snapshot parent; an
	// empty parent means none. It succeeds also where the kernel cannot mount
	// the snapshot: a layer can still be applied to it, and it can be
	// committed.
	//
	// Prepare is Create for a snapshot that can be mounted. View makes a
	// read-only snapshot that shows its parent. Each returns an error that
	// matches errdefs.ErrAlreadyExists when the key is taken.
	Create(ctx context.Context, key, parent string, labels map[string]string) error
	Prepare(ctx context.Context, key, parent string, labels map[string]string) error
	View(ctx context.Context, key, parent string, labels map[string]string) error
	// Commit turns the active snapshot key into the committed snapshot name. It
	// is on disk when Commit returns.
	Commit(ctx context.Context, name, key string, labels map[string]string) error
	// Rename gives a snapshot another name. Snapshots over it follow, and
	// mounts of it go on. The layers of images and the snapshots of engines
	// cannot be renamed.
	Rename(ctx context.Context, key, name string) error
	// Remove removes a snapshot. A snapshot of an image, or with snapshots over
	// it, cannot be removed. A service refuses to remove a snapshot of an
	// engine, unless force is set.
	Remove(ctx context.Context, key string, force bool) error
	// Mounts returns how to mount a snapshot. It mounts nothing.
	Mounts(ctx context.Context, key string, opts driver.MountOptions) ([]mount.Mount, error)

	// Apply unpacks a layer tar, compressed or not, into an active snapshot.
	Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error)
	// Diff writes what a snapshot changes against its parent as an uncompressed
	// layer tar.
	Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error)
	// Changes lists what a snapshot changes against its parent, in the order in
	// which Diff writes it. An error ends the list.
	Changes(ctx context.Context, key string) iter.Seq2[diff.Change, error]

	// Images returns all images, sorted by name.
	Images(ctx context.Context) ([]image.Image, error)
	// Image returns the image with a name or digest.
	Image(ctx context.Context, name string) (image.Image, error)
	// Resolve finds the committed snapshot for a name. The name is the name of
	// an image or the key of a snapshot.
	Resolve(ctx context.Context, name string) (image.Resolved, error)
	// Import reads an image into the store.
	Import(ctx context.Context, src image.Source, opts image.ImportOptions) (image.Image, error)
	// Export writes an image as an OCI archive. It can also write a committed
	// snapshot as an image.
	Export(ctx context.Context, name string, w io.Writer, opts image.ExportOptions) (image.Exported, error)
	// RemoveImage removes the name of an image, and everything that nothing
	// else needs then.
	RemoveImage(ctx context.Context, name string) (image.Collected, error)
	// Collect deletes everything that nothing uses any more.
	Collect(ctx context.Context) (image.Collected, error)

	// Check looks for damage and calls found for each finding, see
	// [check.Background]. It reads at most rate bytes per second, at low
	// priority; 0 means no limit.
	Check(ctx context.Context, opts check.Options, rate int64, found func(check.Finding)) (check.Summary, error)

	// MountRecords returns the records of mounts, sorted by name.
	// PutMountRecord writes a record and replaces a record of the same name.
	// DeleteMountRecord removes a record; a missing record is no error.
	MountRecords(ctx context.Context) ([]MountRecord, error)
	PutMountRecord(ctx context.Context, record MountRecord) error
	DeleteMountRecord(ctx context.Context, name string) error

	// Reserve reserves names, all at once, until the Reservation is released.
	// It keeps away only other callers of Reserve: the names mean nothing to
	// the store.
	//
	// Reserve waits at most patience for other callers that have reserved one
	// of the names. Then it returns an error that matches
	// errdefs.ErrUnavailable. A Local store is open in one process only, so
	// there Reserve never waits.
	Reserve(ctx context.Context, patience time.Duration, names ...string) (Reservation, error)

	// Close releases the store. Do not use it afterwards.
	Close() error
}

// A MountRecord describes a mount. The program that mounts a snapshot writes
// it, for later calls; the store does not read it.
type MountRecord struct {
	// Name identifies the record.
	Name string
	// JSON is an object.
	JSON json.RawMessage
}

// A Reservation keeps names away from other callers of Store.Reserve until it
// is released.
type Reservation interface {
	// ReleaseOthers releases all names but these.
	ReleaseOthers(names ...string) error
	// Release releases all names.
	Release()
}
