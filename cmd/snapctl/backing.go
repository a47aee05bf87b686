package main

import (
	"context"
	"io"
	"iter"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A backing is what commands need of a store: the store itself, opened by this
// process, or a service that has it open. Both give the same results, and errors of
// the same kinds with the same texts.
type backing interface {
	// Root is the store's directory, absolute and without symbolic links.
	Root() string
	DriverName() string
	Properties() driver.Properties

	Stat(ctx context.Context, key string) (snapshots.Info, error)
	Walk(ctx context.Context, fn func(snapshots.Info) error) error
	// WalkStates is Walk with the states of layers, and Damage says what is wrong with
	// those of one snapshot, see [snapshotter.Snapshotter.StreamStates].
	WalkStates(ctx context.Context, fn func(snapshots.Info, snapshotter.LayerState) error) error
	Damage(ctx context.Context, key string) ([]snapshotter.LayerDamage, error)
	Usage(ctx context.Context, key string) (snapshots.Usage, error)
	// Make makes an active snapshot, Prepare one that can be mounted, View a view.
	Make(ctx context.Context, key, parent string, labels map[string]string) error
	Prepare(ctx context.Context, key, parent string, labels map[string]string) error
	View(ctx context.Context, key, parent string, labels map[string]string) error
	Commit(ctx context.Context, name, key string, labels map[string]string) error
	// Remove removes a snapshot that is no image's, and no engine's unless forced.
	Remove(ctx context.Context, key string, force bool) error
	MountValues(ctx context.Context, key string, opts driver.MountOptions) ([]mount.Mount, error)
	Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error)
	Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error)
	Changes(ctx context.Context, key string) iter.Seq2[diff.Change, error]

	Images(ctx context.Context) ([]image.Image, error)
	Image(ctx context.Context, name string) (image.Image, error)
	Resolve(ctx context.Context, name string) (image.Resolved, error)
	Import(ctx context.Context, src image.Source, opts image.ImportOptions) (image.Image, error)
	Export(ctx context.Context, name string, w io.Writer, opts image.ExportOptions) (image.Exported, error)
	RemoveImage(ctx context.Context, name string) (image.Collected, error)
	// Collect frees what nothing uses any more.
	Collect(ctx context.Context) (image.Collected, error)

	// Check is [check.Run], reading at most rate bytes in a second, at low priority, or 0
	// for no limit.
	Check(ctx context.Context, opts check.Options, rate int64, found func(check.Finding)) (check.Summary, error)

	// Notes are our records of mounts.
	Notes(ctx context.Context) ([]client.Note, error)
	PutNote(ctx context.Context, note client.Note) error
	DeleteNote(ctx context.Context, name string) error

	// Hold keeps names from other commands that hold them, see holdNames.
	Hold(ctx context.Context, names ...string) (held, error)
	Close() error
}

// held is what a command keeps from others until it releases it.
type held interface {
	// Keep lets all go but these names.
	Keep(names ...string) error
	Release()
}

// The names that commands hold which look at something first and act then. They
// are taken all at once, and then let go one by one, so nobody waits for who waits.

// holdMounts is held by who makes mounts, or forgets those that are gone: a mount
// that is being made looks as if it were gone.
const holdMounts = "mounts"

// holdSnapshot is held by who mounts a snapshot or does what must not be done to a
// mounted one.
func holdSnapshot(key string) string { return "snapshot/" + key }
