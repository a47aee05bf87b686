package differ

import (
	"context"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Apply unpacks the layer that desc describes, from the engine's content store,
// into the active snapshot of the scope that mounts are those of, and returns the
// descriptor of the uncompressed layer.
//
// Errors match errdefs.ErrNotImplemented for mounts that are not ours and media
// types that are not read, ErrNotFound for a blob that the engine does not have,
// ErrUnavailable when the engine cannot be reached; [driver.ErrInvalidLayer] and
// [driver.ErrDigest]. After an error the snapshot is as before.
func (d *Differ) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, opts ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, notOurs("not yet")
}
