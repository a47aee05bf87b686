package snapshotter

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Stat returns the parent, kind, labels and times of a snapshot of any kind.
func (s *Snapshotter) Stat(ctx context.Context, key string) (_ snapshots.Info, err error) {
	defer s.observe(Event{Op: OpStat, Key: key}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return snapshots.Info{}, err
	}
	defer end()
	if err := s.borrow(ctx, key); err != nil {
		return snapshots.Info{}, err
	}
	row, err := s.row(key)
	if err != nil {
		return snapshots.Info{}, err
	}
	return infoOf(row), nil
}

// Update replaces the labels of the snapshot info.Name. With fieldpaths it
// replaces only the labels named "labels.NAME"; an empty value removes a label.
//
// The error matches errdefs.ErrInvalidArgument for any other path, for
// LabelSize and the labels of [IDMap], which cannot be changed, for a label of
// more than 4 KiB, and for labels of more than 1 MiB together.
func (s *Snapshotter) Update(_ context.Context, info snapshots.Info, fieldpaths ...string) (_ snapshots.Info, err error) {
	defer s.observe(Event{Op: OpUpdate, Key: info.Name}).end(&err)
	end, err := s.beginChange()
	if err != nil {
		return snapshots.Info{}, err
	}
	defer end()
	var row meta.Snapshot
	err = s.update("update", func(tx *meta.Tx) (err error) {
		if row, err = ready(tx, info.Name); err != nil {
			return err
		}
		labels, err := mergeLabels(row.Labels, info, fieldpaths)
		if err != nil {
			return err
		}
		if err := checkLabels(row.Labels, labels); err != nil {
			return err
		}
		if row.Labels, err = keepFixed(row.Labels, labels, fieldpaths); err != nil {
			return err
		}
		row.Updated = now()
		return tx.UpdateSnapshot(row)
	})
	if err != nil {
		return snapshots.Info{}, err
	}
	return infoOf(row), nil
}

func mergeLabels(old map[string]string, info snapshots.Info, fieldpaths []string) (map[string]string, error) {
	if len(fieldpaths) == 0 {
		return keptLabels(info.Labels), nil
	}
	labels := map[string]string{}
	for k, v := range old {
		labels[k] = v
	}
	for _, path := range fieldpaths {
		if name, ok := strings.CutPrefix(path, "labels."); ok {
			labels[name] = info.Labels[name]
			continue
		}
		if path != "labels" {
			return nil, fail(errdefs.ErrInvalidArgument, "field %q of snapshot %q cannot be changed", path, info.Name)
		}
		labels = map[string]string{}
		for k, v := range info.Labels {
			labels[k] = v
		}
	}
	return keptLabels(labels), nil
}

// Usage returns what a snapshot takes on disk, without its parents. The answer
// comes from the database for a committed snapshot, and from the driver for
// others.
func (s *Snapshotter) Usage(ctx context.Context, key string) (_ snapshots.Usage, err error) {
	defer s.observe(Event{Op: OpUsage, Key: key}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return snapshots.Usage{}, err
	}
	defer end()
	unlock, err := s.keys.read(ctx, key)
	if err != nil {
		return snapshots.Usage{}, err
	}
	defer unlock()
	if err := s.borrow(ctx, key); err != nil {
		return snapshots.Usage{}, err
	}
	row, err := s.row(key)
	if err != nil {
		return snapshots.Usage{}, err
	}
	if row.Foreign && row.Usage == (meta.Usage{}) {
		return s.foreignUsage(ctx, row)
	}
	if row.Kind == meta.Committed {
		return snapshots.Usage{Size: row.Usage.Bytes, Inodes: row.Usage.Inodes}, nil
	}
	usage, err := s.driver.Usage(ctx, layerOf(row))
	if err != nil {
		return snapshots.Usage{}, fmt.Errorf("usage of snapshot %q: %w", key, s.damaged(ctx, key, err))
	}
	return snapshots.Usage{Size: usage.Bytes, Inodes: usage.Inodes}, nil
}

// Walk calls fn for every snapshot that matches one of the filters, sorted by
// name. Without filters it calls fn for all. When fn returns an error, Walk
// stops and returns it. Walk shows the state of one moment, and fn may call any
// method of s.
func (s *Snapshotter) Walk(ctx context.Context, fn snapshots.WalkFunc, fs ...string) (err error) {
	defer s.observe(Event{Op: OpWalk}).end(&err)
	end, err := s.calls.begin()
	if err != nil {
		return err
	}
	defer end()
	filter, err := filters.ParseAll(fs...)
	if err != nil {
		return err
	}
	var infos []snapshots.Info
	err = s.view(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			if row.State != meta.Ready {
				return nil
			}
			if info := infoOf(row); filter.Match(fields(info)) {
				infos = append(infos, info)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// fields lets filters use kind, name, parent and labels.NAME of an Info.
func fields(info snapshots.Info) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) == 0 {
			return "", false
		}
		switch path[0] {
		case "kind":
			return strings.ToLower(info.Kind.String()), true
		case "name":
			return info.Name, true
		case "parent":
			return info.Parent, true
		case "labels":
			value, ok := info.Labels[strings.Join(path[1:], ".")]
			return value, ok
		default:
			return "", false
		}
	})
}
