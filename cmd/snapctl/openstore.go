package main

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
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/service/storeservice"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// An openStore is a store that this process has open. Nobody else has, unless all read
// it: whoever waits for it waits for the whole command.
type openStore struct {
	snaps  *snapshotter.Snapshotter
	images *image.Store
}

// openHere opens the store, waiting for another process no longer than that.
func (a *app) openHere(ctx context.Context, wait time.Duration) (*openStore, error) {
	if a.global.readOnlyGiven && a.global.additionalGiven {
		return nil, fmt.Errorf("%w: what comes from an additional store could not be recorded, so leave out --additional", snapshotter.ErrReadOnly)
	}
	s, err := snapshotter.Open(ctx, a.global.root, snapshotter.Options{
		Driver: a.global.driver, ReadOnly: a.global.readOnly, Additional: a.global.additional, LockTimeout: wait, Logger: a.log,
		DriverOptions: driver.Options{Limits: a.limits.Limits()},
	})
	if err != nil {
		return nil, err
	}
	images, err := image.Open(s)
	if err != nil {
		err = doing(err, "opening the images of the store %s", a.global.root)
		return nil, errors.Join(err, s.Close())
	}
	return &openStore{snaps: s, images: images}, nil
}

func (o *openStore) Close() error {
	return doing(o.snaps.Close(), "closing the store %s", o.snaps.Root())
}

func (o *openStore) Root() string                  { return o.snaps.Root() }
func (o *openStore) DriverName() string            { return o.snaps.Driver().Name() }
func (o *openStore) Properties() driver.Properties { return o.snaps.Driver().Properties() }

func (o *openStore) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	return o.snaps.Stat(ctx, key)
}

func (o *openStore) Walk(ctx context.Context, fn func(snapshots.Info) error) error {
	return o.snaps.Stream(ctx, func(_ context.Context, info snapshots.Info) error { return fn(info) })
}

func (o *openStore) WalkStates(ctx context.Context, fn func(snapshots.Info, snapshotter.LayerState) error) error {
	return o.snaps.StreamStates(ctx, func(_ context.Context, info snapshots.Info, state snapshotter.LayerState) error {
		return fn(info, state)
	})
}

func (o *openStore) Damage(ctx context.Context, key string) ([]snapshotter.LayerDamage, error) {
	return o.snaps.Damage(ctx, key)
}

func (o *openStore) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	return o.snaps.Usage(ctx, key)
}

func (o *openStore) Make(ctx context.Context, key, parent string, labels map[string]string) error {
	return o.snaps.Make(ctx, key, parent, snapshots.WithLabels(labels))
}

func (o *openStore) Prepare(ctx context.Context, key, parent string, labels map[string]string) error {
	_, err := o.snaps.Prepare(ctx, key, parent, snapshots.WithLabels(labels))
	return err
}

func (o *openStore) View(ctx context.Context, key, parent string, labels map[string]string) error {
	_, err := o.snaps.View(ctx, key, parent, snapshots.WithLabels(labels))
	return err
}

func (o *openStore) Commit(ctx context.Context, name, key string, labels map[string]string) error {
	return o.snaps.Commit(ctx, name, key, snapshots.WithLabels(labels))
}

func (o *openStore) Remove(ctx context.Context, key string, _ bool) error {
	return o.images.RemoveSnapshot(ctx, key)
}

func (o *openStore) MountValues(ctx context.Context, key string, opts driver.MountOptions) ([]mount.Mount, error) {
	return o.snaps.MountValues(ctx, key, opts)
}

func (o *openStore) Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	return o.snaps.Apply(ctx, key, layer, opts)
}

func (o *openStore) Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error) {
	return o.snaps.Diff(ctx, key, w, opts)
}

func (o *openStore) Changes(ctx context.Context, key string) iter.Seq2[diff.Change, error] {
	return o.snaps.Changes(ctx, key)
}

func (o *openStore) Images(ctx context.Context) ([]image.Image, error) { return o.images.List(ctx) }

func (o *openStore) Image(ctx context.Context, name string) (image.Image, error) {
	return o.images.Get(ctx, name)
}

func (o *openStore) Resolve(ctx context.Context, name string) (image.Resolved, error) {
	return o.images.Resolve(ctx, name)
}

func (o *openStore) Import(ctx context.Context, src image.Source, opts image.ImportOptions) (image.Image, error) {
	return o.images.Import(ctx, src, opts)
}

func (o *openStore) Export(ctx context.Context, name string, w io.Writer, opts image.ExportOptions) (image.Exported, error) {
	return o.images.Export(ctx, name, w, opts)
}

func (o *openStore) RemoveImage(ctx context.Context, name string) (image.Collected, error) {
	return o.images.Remove(ctx, name)
}

func (o *openStore) Collect(ctx context.Context) (image.Collected, error) {
	c, err := o.images.GC(ctx)
	if err != nil {
		return c, err
	}
	return c, o.snaps.Cleanup(ctx)
}

func (o *openStore) Check(ctx context.Context, opts check.Options, rate int64, found func(check.Finding)) (check.Summary, error) {
	return check.Background(ctx, o.snaps, o.images, opts, rate, found)
}

func (o *openStore) Notes(context.Context) ([]client.Note, error) {
	var notes []client.Note
	err := o.snaps.DB().View(func(tx *meta.Tx) error {
		return tx.WalkRecords(storeservice.NoteKind, func(name string, raw json.RawMessage) error {
			notes = append(notes, client.Note{Name: name, JSON: append(json.RawMessage{}, raw...)})
			return nil
		})
	})
	return notes, err
}

func (o *openStore) PutNote(_ context.Context, note client.Note) error {
	return o.snaps.DB().Update(func(tx *meta.Tx) error { return tx.PutRecord(storeservice.NoteKind, note.Name, note.JSON) })
}

func (o *openStore) DeleteNote(_ context.Context, name string) error {
	return o.snaps.DB().Free(func(tx *meta.Tx) error {
		err := tx.DeleteRecord(storeservice.NoteKind, name)
		if errors.Is(err, meta.ErrNotFound) {
			return nil
		}
		return err
	})
}

func (o *openStore) Hold(context.Context, ...string) (held, error) { return alone{}, nil }

// alone is held by who has the whole store.
type alone struct{}

func (alone) Keep(...string) error { return nil }
func (alone) Release()             {}
