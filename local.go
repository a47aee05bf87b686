package layerkeep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A Local is a [Store] that is open in this process. No other process has it
// open, except when all of them only read.
type Local struct {
	snaps  *snapshotter.Snapshotter
	images *image.Store
}

// Open opens the store in the directory root. It makes a missing directory, see
// [snapshotter.Open].
func Open(ctx context.Context, root string, opts snapshotter.Options) (*Local, error) {
	s, err := snapshotter.Open(ctx, root, opts)
	if err != nil {
		return nil, err
	}
	l, err := Over(s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return l, nil
}

// Over returns the store of an open snapshotter. Closing the store closes the
// snapshotter.
func Over(s *snapshotter.Snapshotter) (*Local, error) {
	images, err := image.Open(s)
	if err != nil {
		return nil, fmt.Errorf("opening the images of the store %s: %w", s.Root(), err)
	}
	return &Local{s, images}, nil
}

// Snapshotter returns the snapshots of the store. It implements containerd's
// interface and has more methods, for the process that has the store open.
func (l *Local) Snapshotter() *snapshotter.Snapshotter { return l.snaps }

// ImageStore returns the images of the store.
func (l *Local) ImageStore() *image.Store { return l.images }

// Close implements [Store].
func (l *Local) Close() error {
	if err := l.snaps.Close(); err != nil {
		return fmt.Errorf("closing the store %s: %w", l.snaps.Root(), err)
	}
	return nil
}

// Root implements [Store].
func (l *Local) Root() string { return l.snaps.Root() }

// DriverName implements [Store].
func (l *Local) DriverName() string { return l.snaps.Driver().Name() }

// Properties implements [Store].
func (l *Local) Properties() driver.Properties { return l.snaps.Driver().Properties() }

// Stat implements [Store].
func (l *Local) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	return l.snaps.Stat(ctx, key)
}

// Walk implements [Store].
func (l *Local) Walk(ctx context.Context, fn func(snapshots.Info) error) error {
	return l.snaps.Stream(ctx, func(_ context.Context, info snapshots.Info) error { return fn(info) })
}

// WalkStates implements [Store].
func (l *Local) WalkStates(ctx context.Context, fn func(snapshots.Info, snapshotter.LayerState) error) error {
	return l.snaps.StreamStates(ctx, func(_ context.Context, info snapshots.Info, state snapshotter.LayerState) error {
		return fn(info, state)
	})
}

// Damage implements [Store].
func (l *Local) Damage(ctx context.Context, key string) ([]snapshotter.LayerDamage, error) {
	return l.snaps.Damage(ctx, key)
}

// Usage implements [Store].
func (l *Local) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	return l.snaps.Usage(ctx, key)
}

// Create implements [Store].
func (l *Local) Create(ctx context.Context, key, parent string, labels map[string]string) error {
	return l.snaps.Create(ctx, key, parent, snapshots.WithLabels(labels))
}

// Prepare implements [Store].
func (l *Local) Prepare(ctx context.Context, key, parent string, labels map[string]string) error {
	_, err := l.snaps.Prepare(ctx, key, parent, snapshots.WithLabels(labels))
	return err
}

// View implements [Store].
func (l *Local) View(ctx context.Context, key, parent string, labels map[string]string) error {
	_, err := l.snaps.View(ctx, key, parent, snapshots.WithLabels(labels))
	return err
}

// Commit implements [Store].
func (l *Local) Commit(ctx context.Context, name, key string, labels map[string]string) error {
	return l.snaps.Commit(ctx, name, key, snapshots.WithLabels(labels))
}

// Rename implements [Store].
func (l *Local) Rename(ctx context.Context, key, name string) error {
	return l.images.RenameSnapshot(ctx, key, name)
}

// Remove implements [Store]. It ignores force: engines use a store only through
// a service, so no engine is at work here.
func (l *Local) Remove(ctx context.Context, key string, _ bool) error {
	return l.images.RemoveSnapshot(ctx, key)
}

// Mounts implements [Store].
func (l *Local) Mounts(ctx context.Context, key string, opts driver.MountOptions) ([]mount.Mount, error) {
	return l.snaps.MountValues(ctx, key, opts)
}

// Apply implements [Store].
func (l *Local) Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	return l.snaps.Apply(ctx, key, layer, opts)
}

// Diff implements [Store].
func (l *Local) Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error) {
	return l.snaps.Diff(ctx, key, w, opts)
}

// Changes implements [Store].
func (l *Local) Changes(ctx context.Context, key string) iter.Seq2[diff.Change, error] {
	return l.snaps.Changes(ctx, key)
}

// Images implements [Store].
func (l *Local) Images(ctx context.Context) ([]image.Image, error) { return l.images.List(ctx) }

// Image implements [Store].
func (l *Local) Image(ctx context.Context, name string) (image.Image, error) {
	return l.images.Image(ctx, name)
}

// Resolve implements [Store].
func (l *Local) Resolve(ctx context.Context, name string) (image.Resolved, error) {
	return l.images.Resolve(ctx, name)
}

// Import implements [Store].
func (l *Local) Import(ctx context.Context, src image.Source, opts image.ImportOptions) (image.Image, error) {
	return l.images.Import(ctx, src, opts)
}

// Export implements [Store].
func (l *Local) Export(ctx context.Context, name string, w io.Writer, opts image.ExportOptions) (image.Exported, error) {
	return l.images.Export(ctx, name, w, opts)
}

// RemoveImage implements [Store].
func (l *Local) RemoveImage(ctx context.Context, name string) (image.Collected, error) {
	return l.images.Remove(ctx, name)
}

// Collect implements [Store].
func (l *Local) Collect(ctx context.Context) (image.Collected, error) {
	c, err := l.images.Collect(ctx)
	if err != nil {
		return c, err
	}
	return c, l.snaps.Cleanup(ctx)
}

// Check implements [Store].
func (l *Local) Check(ctx context.Context, opts check.Options, rate int64, found func(check.Finding)) (check.Summary, error) {
	return check.Background(ctx, l.snaps, l.images, opts, rate, found)
}

// mountRecords is the kind that records of mounts have in the database.
const mountRecords = "mounts"

// MountRecords implements [Store].
func (l *Local) MountRecords(ctx context.Context) ([]MountRecord, error) {
	var all []MountRecord
	err := l.snaps.DB().View(func(tx *meta.Tx) error {
		return tx.WalkRecords(mountRecords, func(name string, raw json.RawMessage) error {
			all = append(all, MountRecord{name, append(json.RawMessage{}, raw...)})
			return ctx.Err()
		})
	})
	return all, err
}

// PutMountRecord implements [Store].
func (l *Local) PutMountRecord(_ context.Context, record MountRecord) error {
	return l.snaps.DB().Update(func(tx *meta.Tx) error { return tx.PutRecord(mountRecords, record.Name, record.JSON) })
}

// DeleteMountRecord implements [Store].
func (l *Local) DeleteMountRecord(_ context.Context, name string) error {
	return l.snaps.DB().Free(func(tx *meta.Tx) error {
		err := tx.DeleteRecord(mountRecords, name)
		if errors.Is(err, meta.ErrNotFound) {
			return nil
		}
		return err
	})
}

// Reserve implements [Store].
func (l *Local) Reserve(context.Context, time.Duration, ...string) (Reservation, error) {
	return alone{}, nil
}

// alone is the reservation of who has the whole store.
type alone struct{}

func (alone) ReleaseOthers(...string) error { return nil }
func (alone) Release()                      {}

var _ Store = (*Local)(nil)
