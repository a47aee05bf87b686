package snapshotter

import (
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// LabelSize limits what an active snapshot may take on disk, without its
// parents. Its value is a number of bytes, in decimal, at least 1. Give it to
// [Snapshotter.Prepare]. It cannot be changed, and ends with the commit.
// Engines pass labels with this prefix to snapshotters.
const LabelSize = "containerd.io/snapshot/layerkeep.size"

// SizeLimit returns the limit in the labels of a snapshot, in bytes, and 0 for
// none. An error matches errdefs.ErrInvalidArgument.
func SizeLimit(labels map[string]string) (int64, error) {
	text, ok := labels[LabelSize]
	if !ok {
		return 0, nil
	}
	limit, err := strconv.ParseInt(text, 10, 64)
	if err != nil || limit < 1 {
		return 0, fail(errdefs.ErrInvalidArgument, "label %s: %q is not a number of bytes", LabelSize, text)
	}
	return limit, nil
}

// checkSize returns the limit for a new snapshot, or an error when the snapshot
// cannot have one.
func (s *Snapshotter) checkSize(kind meta.Kind, key string, labels map[string]string) (int64, error) {
	limit, err := SizeLimit(labels)
	switch {
	case err != nil:
		return 0, fmt.Errorf("snapshot %q: %w", key, err)
	case limit == 0:
		return 0, nil
	case kind != meta.Active:
		return 0, fail(errdefs.ErrInvalidArgument, "snapshot %q: label %s: only a writable snapshot has a size limit", key, LabelSize)
	case !s.driver.Properties().Quota:
		return 0, classify(fmt.Errorf("snapshot %q: driver %s cannot limit the size of a layer: %w",
			key, s.driver.Name(), driver.ErrUnsupported))
	}
	return limit, nil
}
