package differ

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/tar"
)

// Apply unpacks the layer that desc describes, from the engine's content store,
// into the active snapshot of the scope that mounts are those of, and returns
// the descriptor of the uncompressed layer.
//
// Errors match errdefs.ErrNotImplemented for mounts that are not ours and media
// types that are not read, ErrNotFound for a blob that the engine does not
// have, ErrUnavailable when the engine cannot be reached,
// [driver.ErrInvalidLayer] and [driver.ErrDigest]. After an error the snapshot
// is as before.
func (d *Differ) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	var config diff.ApplyConfig
	for _, opt := range opts {
		if err := opt(ctx, desc, &config); err != nil {
			return ocispec.Descriptor{}, fmt.Errorf("apply layer %s: %w", desc.Digest, err)
		}
	}
	if !readable(desc.MediaType) {
		return ocispec.Descriptor{}, notOurs("apply a layer of media type %q", desc.MediaType)
	}
	key, err := d.find(ctx, mounts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	progress := config.Progress
	if progress == nil {
		progress = func(int64) {}
	}
	progress(0)
	start := time.Now()
	applied, err := d.apply(ctx, desc, key, config.SyncFs)
	if err != nil {
		return ocispec.Descriptor{}, final(fmt.Errorf("apply layer %s: %w", desc.Digest, err))
	}
	progress(desc.Size)
	d.log.DebugContext(ctx, "layer applied", "key", key, "digest", desc.Digest, "bytes", applied.Bytes, "duration", time.Since(start))
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: applied.DiffID, Size: applied.Bytes}, nil
}

// find returns the snapshot that mounts are those of.
func (d *Differ) find(ctx context.Context, mounts []mount.Mount) (string, error) {
	key, err := d.scope.Find(ctx, mounts)
	if errdefs.IsNotFound(err) {
		return "", notOurs("the mounts are of no snapshot of this store")
	}
	return key, err
}

func (d *Differ) apply(ctx context.Context, desc ocispec.Descriptor, key string, sync bool) (driver.Applied, error) {
	info, err := d.scope.Stat(ctx, key)
	if err != nil {
		return driver.Applied{}, err
	}
	// The layers of an image may come side by side, each without its parent. Nobody
	// mounts a snapshot in which one is unpacked.
	detached := info.Parent == "" && snapshotter.IsExtraction(d.scope.Full(key)) && d.store.Driver().Properties().Rebase
	from, err := sourceOf(ctx, desc)
	if err != nil {
		return driver.Applied{}, err
	}
	if err := d.engine.applies.Acquire(ctx, 1); err != nil {
		return driver.Applied{}, err
	}
	defer d.engine.applies.Release(1)
	b, err := d.engine.open(ctx, desc)
	if err != nil {
		return driver.Applied{}, err
	}
	defer b.Close()
	// Commit puts a detached layer on disk, whatever Sync says.
	opts := driver.ApplyOptions{Detached: detached, Sync: sync && !detached, Limits: d.limits}
	applied, err := d.scope.ApplyFrom(ctx, key, from, b, opts)
	if detached && errors.Is(err, driver.ErrNeedsParents) {
		// Commit names the parents, and reads the layer again to apply it to them.
		_ = b.Close() // what it has read ahead is not needed
		applied, err = d.measure(ctx, desc)
	} else {
		err = b.finish(err)
	}
	if err == nil {
		d.scope.Heal(ctx, key, from, applied.DiffID)
	}
	return applied, err
}

// measure returns what applying a layer would, without doing it.
func (d *Differ) measure(ctx context.Context, desc ocispec.Descriptor) (driver.Applied, error) {
	b, err := d.engine.open(ctx, desc)
	if err != nil {
		return driver.Applied{}, err
	}
	defer b.Close()
	plain, _, err := tar.NewDecompressor(b)
	if err != nil {
		return driver.Applied{}, b.finish(err)
	}
	defer plain.Close()
	limit := d.bound(desc.Size)
	hash := digest.Canonical.Digester()
	n, err := io.Copy(hash.Hash(), io.LimitReader(plain, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("%w: it unpacks to more than %d bytes", driver.ErrInvalidLayer, limit)
	}
	return driver.Applied{DiffID: hash.Digest(), Bytes: n}, b.finish(err)
}

// ratioFloor is how many bytes may come of nothing before a ratio counts, as
// when a layer is applied.
const ratioFloor = 64 << 20

// bound is how many bytes a layer of so many compressed ones may have.
func (d *Differ) bound(packed int64) int64 {
	limit, ratio := d.limits.Bytes, d.limits.Ratio
	if limit <= 0 {
		limit = tar.DefaultBytes
	}
	if ratio > 0 && packed > 0 && packed < limit/ratio {
		limit = min(limit, max(packed*ratio, ratioFloor))
	}
	return limit
}
