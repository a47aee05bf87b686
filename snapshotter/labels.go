package snapshotter

import "github.com/containerd/errdefs"

// Limits for the labels of a snapshot, in bytes of names and values. The limit
// for one label is that of containerd. All labels of a snapshot must fit into
// one message of a service that lists snapshots.
const (
	maxLabel  = 4096
	maxLabels = 1 << 20
)

// checkLabels returns an error, which matches errdefs.ErrInvalidArgument, when
// the labels that replace old labels are too large. Labels that were too large
// before may stay.
func checkLabels(old, labels map[string]string) error {
	for name, value := range labels {
		if was, ok := old[name]; ok && was == value {
			continue
		}
		if n := len(name) + len(value); n > maxLabel {
			return fail(errdefs.ErrInvalidArgument, "label %.64q: name and value have %d bytes, at most %d", name, n, maxLabel)
		}
	}
	if n := sizeOfLabels(labels); n > maxLabels && n > sizeOfLabels(old) {
		return fail(errdefs.ErrInvalidArgument, "labels: they have %d bytes, at most %d", n, maxLabels)
	}
	return nil
}

func sizeOfLabels(labels map[string]string) int {
	n := 0
	for name, value := range labels {
		n += len(name) + len(value)
	}
	return n
}
