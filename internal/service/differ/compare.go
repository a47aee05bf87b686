package differ

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	ctddiff "github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/epoch"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// Compare makes the layer that turns what lower shows into what upper shows,
// puts it into the engine's content store and returns its descriptor. Both are
// mounts of snapshots of the scope, of any kind; lower may be empty. The
// default media type is that of a gzipped layer.
//
// When the content store has the layer already, that is success. After an
// error, and when ctx ends, nothing is left in the content store.
//
// Errors match errdefs.ErrNotImplemented for mounts that are not ours and media
// types that are not written, ErrUnavailable when the engine cannot be reached
// or another call is writing under the same reference.
func (d *Differ) Compare(ctx context.Context, lower, upper []mount.Mount, opts ...ctddiff.Opt) (ocispec.Descriptor, error) {
	job, err := d.newJob(ctx, opts)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	from, to, err := d.both(ctx, lower, upper)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if job.write, err = d.comparison(ctx, from, to); err != nil {
		return ocispec.Descriptor{}, err
	}
	start := time.Now()
	desc, err := job.run(ctx)
	if err != nil {
		return ocispec.Descriptor{}, final(fmt.Errorf("compare snapshots: %w", err))
	}
	d.log.DebugContext(ctx, "layer made", "key", to, "lower", from, "digest", desc.Digest, "bytes", desc.Size, "duration", time.Since(start))
	return desc, nil
}

// both returns the snapshots whose trees the mounts show, "" for nothing.
func (d *Differ) both(ctx context.Context, lower, upper []mount.Mount) (from, to string, err error) {
	if len(upper) == 0 {
		return "", "", fmt.Errorf("compare snapshots: nothing to compare with: %w", errdefs.ErrInvalidArgument)
	}
	if from, err = d.findTree(ctx, lower); err != nil {
		return "", "", err
	}
	to, err = d.findTree(ctx, upper)
	return from, to, err
}

// A writeLayer writes a layer tar to w.
type writeLayer func(ctx context.Context, w io.Writer, opts driver.DiffOptions) error

// comparison chooses the cheapest way to the layer: what a backend knows of a
// snapshot that is compared with its parent, else a walk over both.
func (d *Differ) comparison(ctx context.Context, from, to string) (writeLayer, error) {
	if to != "" {
		info, err := d.scope.Stat(ctx, to)
		if err != nil {
			return nil, err
		}
		if info.Parent == from {
			return func(ctx context.Context, w io.Writer, opts driver.DiffOptions) error {
				opts.Warn = d.warning(ctx, to)
				_, err := d.scope.Diff(ctx, to, w, opts)
				return err
			}, nil
		}
	}
	return func(ctx context.Context, w io.Writer, opts driver.DiffOptions) error {
		return d.walk(ctx, from, to, w, opts)
	}, nil
}

// shown returns the snapshot whose tree the mounts show, "" for nothing.
func (d *Differ) findTree(ctx context.Context, mounts []mount.Mount) (string, error) {
	key, err := d.scope.FindTree(ctx, mounts)
	if errdefs.IsNotFound(err) {
		return "", notOurs("the mounts are of no snapshot of this store")
	}
	return key, err
}

// walk compares the trees of any two snapshots.
func (d *Differ) walk(ctx context.Context, from, to string, w io.Writer, opts driver.DiffOptions) (err error) {
	older, err := d.view(ctx, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, older.Close()) }()
	newer, err := d.view(ctx, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, newer.Close()) }()
	warn := d.warning(ctx, to)
	changes := diff.Compare(ctx, older, diff.Unhinted(newer), diff.Options{Warn: warn})
	_, err = tar.Write(ctx, w, changes, tar.WriteOptions{MaxTime: opts.MaxTime, Warn: warn})
	return err
}

// warning logs what a layer cannot hold.
func (d *Differ) warning(ctx context.Context, key string) func(path, message string) {
	return func(path, message string) { d.log.WarnContext(ctx, message, "key", key, "path", path) }
}

func (d *Differ) view(ctx context.Context, key string) (diff.View, error) {
	if key == "" {
		return emptyView{}, nil
	}
	return d.scope.OpenView(ctx, key)
}

// configure evaluates the options of a call.
func configure(ctx context.Context, opts []ctddiff.Opt) (ctddiff.Config, error) {
	var config ctddiff.Config
	for _, opt := range opts {
		if err := opt(&config); err != nil {
			return config, fmt.Errorf("compare snapshots: %w", err)
		}
	}
	if config.SourceDateEpoch == nil {
		config.SourceDateEpoch = epoch.FromContext(ctx)
	}
	if config.SourceDateEpoch == nil {
		config.SourceDateEpoch = &time.Time{} // no bound
	}
	if config.MediaType == "" {
		if config.Compressor != nil {
			return config, fmt.Errorf("compare snapshots: a compressor needs a media type: %w", errdefs.ErrInvalidArgument)
		}
		config.MediaType = ocispec.MediaTypeImageLayerGzip
	}
	return config, nil
}
