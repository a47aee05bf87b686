package repair

import (
	"errors"
	"fmt"
	"slices"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// isOutlived reports whether a finding only says that a snapshot is in
// quarantine. Such a finding is ignored if this check is thorough enough to
// decide again about the quarantine.
func (r *repairer) isOutlived(f check.Finding) bool {
	q, is := r.inQuarantine[f.Name]
	return is && f.Path == "" && f.What == q.Err().Error() && r.seesThrough(q)
}

// seesThrough reports whether this check is at least as thorough as the one
// that led to the quarantine.
func (r *repairer) seesThrough(q snapshotter.Quarantine) bool { return r.opts.ReadData || !q.ReadData }

// quarantine puts the layers that could not be repaired into quarantine, so
// that no new snapshot can be made on them. It also releases snapshots that are
// sound now. If the quarantine fails, for example because the disk is full, the
// outcome says so, and the other outcomes are still reported.
func (r *repairer) quarantine() {
	for key, o := range r.tried {
		if !r.isForQuarantine(key, o) {
			continue
		}
		o.Quarantined = true
		if q, is := r.inQuarantine[key]; r.opts.DryRun || is && !r.seesThrough(q) {
			continue
		}
		if err := r.snaps.Quarantine(r.ctx, key, o.What, r.opts.ReadData); err != nil {
			o.Quarantined = false
			o.Err = fmt.Errorf("%w; and it could not be put into quarantine: %w", o.Err, err)
		}
	}
	r.release()
}

// isForQuarantine reports whether a layer must be put into quarantine. These
// must not:
//
//   - a layer of a snapshot that is not committed
//   - a layer that is missing, torn or in another store, because it cannot be
//     used anyway
//   - a layer that is newer than the database, because it is not damaged
//   - a layer whose repair failed only for lack of space or because it was
//     mounted, because it may be sound
//   - a layer that only lacks its hints, because it is only slow
func (r *repairer) isForQuarantine(key string, o *Outcome) bool {
	l := r.layers[key]
	none := func(err error) bool {
		return errors.Is(err, snapshotter.ErrOlder) || errors.Is(err, snapshotter.ErrLayerTorn)
	}
	passes := durable.NoRoom(o.Err) || errors.Is(o.Err, driver.ErrBusy)
	onlySlow := len(l.Faults) > 0 && !slices.ContainsFunc(l.Faults, func(err error) bool { return !errors.Is(err, snapshotter.ErrHints) })
	return o.Err != nil && !passes && !onlySlow && l.Kind == meta.Committed && l.Store == "" && !l.Missing && !slices.ContainsFunc(l.Faults, none)
}

// letGo releases a snapshot whose record was written again. It does so only if
// the data that the commit recorded proves as much as the check that led to the
// quarantine.
func (r *repairer) letGo(key string, o *Outcome) error {
	q, is := r.inQuarantine[key]
	if !is || r.opts.DryRun || o.Unverified && q.ReadData {
		return nil
	}
	return r.snaps.Release(r.ctx, key)
}

// release releases the snapshots in which this check has found nothing, if it
// is at least as thorough as the check that led to the quarantine.
func (r *repairer) release() {
	for _, key := range r.order {
		q, is := r.inQuarantine[key]
		if !is || r.broken[key] != nil || r.below(key) != "" || r.tried[key] != nil || !r.seesThrough(q) {
			continue
		}
		o := &Outcome{Part: check.Snapshot, Name: key, Layer: r.layers[key].ID, What: "it was in quarantine, and is sound now: " + q.What}
		if !r.opts.DryRun {
			o.Err = r.snaps.Release(r.ctx, key)
		}
		r.outcomes = append(r.outcomes, o)
	}
}
