package snapshotter

import (
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
)

// fixedLabels lists the labels that say how a snapshot was made, and so cannot
// be changed until it is committed, which ends what they mean.
func fixedLabels() []string {
	return []string{LabelSize, snapshots.LabelSnapshotUIDMapping, snapshots.LabelSnapshotGIDMapping}
}

// keepFixed puts the fixed labels of a snapshot into those that replace its
// others: one that would change is an error, and where nothing is said of it,
// nothing changes.
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
