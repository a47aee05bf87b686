package main

import (
	"context"
	"io"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A readOnlyStore is a store of which this command changes nothing: it was
// asked not to, or the disk is read-only. What would change something is
// refused here, so that it is also when a service has the store, which could do
// it.
type readOnlyStore struct{ layerkeep.Store }

// readOnly makes s read-only if --read-only was given, or if it is open so.
func (a *app) readOnly(s layerkeep.Store) layerkeep.Store {
	l, here := s.(*layerkeep.Local)
	if a.global.readOnly || here && l.Snapshotter().ReadOnly() {
		return readOnlyStore{s}
	}
	return s
}

// isReadOnly reports whether nothing of the store may be changed.
func (st *store) isReadOnly() bool {
	_, is := st.Store.(readOnlyStore)
	return is
}

// errReadOnly is the answer to a change.
func errReadOnly(format string, args ...any) error {
	return doing(snapshotter.ErrReadOnly, format, args...)
}

func (readOnlyStore) Create(_ context.Context, key, _ string, _ map[string]string) error {
	return errReadOnly("make snapshot %q", key)
}

func (readOnlyStore) Prepare(_ context.Context, key, _ string, _ map[string]string) error {
	return errReadOnly("make snapshot %q", key)
}

func (readOnlyStore) View(_ context.Context, key, _ string, _ map[string]string) error {
	return errReadOnly("make snapshot %q", key)
}

func (readOnlyStore) Commit(_ context.Context, _, key string, _ map[string]string) error {
	return errReadOnly("commit snapshot %q", key)
}

func (readOnlyStore) Rename(_ context.Context, key, _ string) error {
	return errReadOnly("rename snapshot %q", key)
}

func (readOnlyStore) Remove(_ context.Context, key string, _ bool) error {
	return errReadOnly("remove snapshot %q", key)
}

func (readOnlyStore) Apply(_ context.Context, key string, _ io.Reader, _ driver.ApplyOptions) (driver.Applied, error) {
	return driver.Applied{}, errReadOnly("apply to snapshot %q", key)
}

func (readOnlyStore) Import(_ context.Context, src image.Source, _ image.ImportOptions) (image.Image, error) {
	return image.Image{}, errReadOnly("import %s", src)
}

func (readOnlyStore) RemoveImage(_ context.Context, name string) (image.Collected, error) {
	return image.Collected{}, errReadOnly("remove image %q", name)
}

func (readOnlyStore) Collect(context.Context) (image.Collected, error) {
	return image.Collected{}, snapshotter.ErrReadOnly
}

func (readOnlyStore) PutMountRecord(context.Context, layerkeep.MountRecord) error {
	return errReadOnly("record a mount")
}

func (readOnlyStore) DeleteMountRecord(context.Context, string) error {
	return errReadOnly("remove the record of a mount")
}

// Export is refused where a service has the store and would keep the layers
// that it has to make. Those of an image are kept already.
func (r readOnlyStore) Export(ctx context.Context, name string, w io.Writer, opts image.ExportOptions) (image.Exported, error) {
	if r.isServed() {
		resolved, err := r.Resolve(ctx, name)
		if err != nil {
			return image.Exported{}, err
		}
		if resolved.Image == nil {
			return image.Exported{}, advise(
				errReadOnly("export %s: the service that has the store open would keep the layers that it makes", name),
				"name an image, or leave out --read-only",
			)
		}
	}
	return r.Store.Export(ctx, name, w, opts)
}

// Mounts is refused where a service has the store and would prepare the layer
// for being mounted: one that is active, or that this kernel cannot mount as it
// is.
func (r readOnlyStore) Mounts(ctx context.Context, key string, opts driver.MountOptions) ([]mount.Mount, error) {
	if r.isServed() {
		info, err := r.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		if info.Kind == snapshots.KindActive || !r.Properties().MountsWritable {
			return nil, advise(
				errReadOnly("mounts of snapshot %q: the service that has the store open would prepare it for being mounted", key),
				"leave out --read-only",
			)
		}
	}
	opts.ReadOnly = true
	return r.Store.Mounts(ctx, key, opts)
}

func (r readOnlyStore) isServed() bool {
	_, served := r.Store.(*client.Client)
	return served
}

// refuseReadOnly refuses --read-only for a command that has no use without
// writing.
func (a *app) refuseReadOnly(command, why string) error {
	if a.global.readOnly {
		return usagef("%s: --read-only cannot be used with this command: %s", command, why)
	}
	return nil
}
