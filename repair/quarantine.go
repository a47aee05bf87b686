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

// isOutlived reports whether a finding says no more than that a snapshot is in
// quarantine, which this check, as it looks closely enough, decides anew.
func (r *repairer) isOutlived(f check.Finding) bool {
	q, is := r.inQuarantine[f.Name]
	return is && f.Path == "" && f.What == q.Err().Error() && r.seesThrough(q)
}

// seesThrough reports whether this check looks as closely as the one that has
// found what is wrong.
func (r *repairer) seesThrough(q snapshotter.Quarantine) bool { return r.opts.ReadData || !q.ReadData }

// quarantine puts what is beyond help into quarantine, so that nothing new is
// made on it, and lets go what an earlier repair has put there and is sound
// now. Where that fails, as on a full disk, the outcome says so, and the others
// are told all the same.
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

// isForQuarantine leaves out what cannot be used anyway: a layer that is
// missing or torn, or is in another store. What the database does not know yet
// is not damaged, and what only lacked room, or was mounted, may be sound, and
// what lacks its hints is only slow.
func (r *repairer) isForQuarantine(key string, o *Outcome) bool {
	l := r.layers[key]
	none := func(err error) bool {
		return errors.Is(err, snapshotter.ErrOlder) || errors.Is(err, snapshotter.ErrLayerTorn)
	}
	passes := durable.NoRoom(o.Err) || errors.Is(o.Err, driver.ErrBusy)
	onlySlow := len(l.Faults) > 0 && !slices.ContainsFunc(l.Faults, func(err error) bool { return !errors.Is(err, snapshotter.ErrHints) })
	return o.Err != nil && !passes && !onlySlow && l.Kind == meta.Committed && l.Store == "" && !l.Missing && !slices.ContainsFunc(l.Faults, none)
}

// letGo ends the quarantine of a snapshot whose record was written again, where
// what its commit has kept tells as much as the check that has put it there.
func (r *repairer) letGo(key string, o *Outcome) error {
	q, is := r.inQuarantine[key]
	if !is || r.opts.DryRun || o.Unverified && q.ReadData {
		return nil
	}
	return r.snaps.Release(r.ctx, key)
}

// release ends the quarantine of snapshots in which this check, which has
// looked as closely as the one before, has found nothing.
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
