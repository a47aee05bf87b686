package snapshotter

import (
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// fixedLabels lists the labels that say how a snapshot was made. They cannot be
// changed. The commit removes them.
func fixedLabels() []string {
	return []string{LabelSize, snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping}
}

// keepFixed adds the fixed labels of a snapshot to the labels that replace its
// old ones. It returns an error when a fixed label would change or is to be
// removed by its fieldpath.
func keepFixed(old, labels map[string]string, fieldpaths []string) (map[string]string, error) {
	labels = maps.Clone(labels)
	for _, label := range fixedLabels() {
		was, is := old[label], labels[label]
		named := slices.Contains(fieldpaths, "labels."+label)
		if is == was {
			continue
		}
		if is != "" || named {
			return nil, fail(errdefs.ErrInvalidArgument, "label %s cannot be changed: it is given when a snapshot is made", label)
		}
		if labels == nil {
			labels = map[string]string{}
		}
		labels[label] = was
	}
	return labels, nil
}
