package repair

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// Options tune [Run].
type Options struct {
	// ReadData makes the check before the repair read every byte, see
	// [check.Options].
	ReadData bool
	// DryRun only says what would be done. It reads what would be used, to find
	// out whether the repair is possible.
	DryRun bool
	// Read and Step are as in [check.Options].
	Read func(ctx context.Context, n int) error
	Step func(done, all int, name string)
}

// Run checks an open store, repairs what it can, and calls told for each
// damaged thing. An error says that the repair could not go on.
func Run(ctx context.Context, snaps *snapshotter.Snapshotter, images *image.Store, opts Options, told func(Outcome)) error {
	r := &repairer{
		ctx: ctx, snaps: snaps, images: images, opts: opts,
		layers: map[string]snapshotter.Layer{}, broken: map[string][]check.Finding{},
		tried: map[string]*Outcome{}, blobs: map[digest.Digest]bool{},
	}
	if err := r.run(); err != nil {
		return err
	}
	for _, o := range r.outcomes {
		told(*o)
	}
	return nil
}

type repairer struct {
	ctx    context.Context //nolint:containedctx // one call of Run
	snaps  *snapshotter.Snapshotter
	images *image.Store
	opts   Options
	// layers has the layers of the snapshots, by key. order has the keys, parents
	// first.
	layers map[string]snapshotter.Layer
	order  []string
	// broken has the findings of the last check about the layer of a snapshot
	// itself.
	broken map[string][]check.Finding
	// outcomes are in the order in which the damage was found. tried has the
	// outcomes of the layers that were repaired or could not be.
	outcomes []*Outcome
	tried    map[string]*Outcome
	// blobs are the blobs that were already handled.
	blobs map[digest.Digest]bool
	// inQuarantine has the snapshots that an earlier repair put into quarantine.
	inQuarantine map[string]snapshotter.Quarantine
}

func (r *repairer) run() error {
	layers, err := r.snaps.Inspect(r.ctx)
	if err != nil {
		return err
	}
	for _, l := range layers {
		if l.Name != "" {
			r.layers[l.Name] = l
			r.order = append(r.order, l.Name)
		}
	}
	if r.inQuarantine, err = r.snaps.Quarantined(); err != nil {
		return err
	}
	found, err := r.check(nil)
	if err != nil {
		return err
	}
	for {
		again := r.mend()
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if len(again) == 0 || r.opts.DryRun {
			break
		}
		if _, err := r.check(again); err != nil {
			return err
		}
	}
	r.explain()
	if err := r.others(found); err != nil {
		return err
	}
	r.quarantine()
	return r.ctx.Err()
}

// check checks the whole store, or the named snapshots with all their parents.
// It records which layers are broken now.
func (r *repairer) check(names []string) (found []check.Finding, err error) {
	for _, key := range names {
		for n := 0; key != "" && n < len(r.layers); n++ { // the bound also ends a cycle
			delete(r.broken, key)
			key = r.layers[key].Parent
		}
	}
	opts := check.Options{ReadData: r.opts.ReadData, Names: names, Read: r.opts.Read, Step: r.opts.Step}
	_, err = check.Run(r.ctx, r.snaps, r.images, opts, func(f check.Finding) {
		if r.isOutlived(f) {
			return
		}
		found = append(found, f)
		if f.Broken {
			r.broken[f.Name] = append(r.broken[f.Name], f)
		}
	})
	return found, err
}

// mend repairs each broken layer that has no broken layer below it. It returns
// what must be checked again: the repaired snapshots and all snapshots above
// them.
func (r *repairer) mend() (again []string) {
	for _, key := range r.order {
		if r.broken[key] == nil || r.below(key) != "" || r.tried[key] != nil || r.ctx.Err() != nil {
			continue
		}
		o := r.outcome(r.broken[key])
		r.tried[key] = o
		if o.Err = r.layer(key, o); o.Err != nil {
			continue
		}
		again = append(append(again, key), o.Snapshots...)
		if !r.snaps.Driver().Properties().SharesPages && !r.layers[key].Missing && !o.record {
			o.Doubtful = r.untold(o.Snapshots)
		}
		if !r.opts.DryRun {
			o.Snapshots, o.Images = nil, nil
		}
	}
	slices.Sort(again)
	return slices.Compact(again)
}

// layer repairs the layer of a snapshot. If only its record is damaged, layer
// repairs only the record.
func (r *repairer) layer(key string, o *Outcome) error {
	l := r.layers[key]
	older := func(err error) bool { return errors.Is(err, snapshotter.ErrOlder) }
	other := func(err error) bool { return !errors.Is(err, snapshotter.ErrRecord) }
	switch {
	case slices.ContainsFunc(l.Faults, older):
		return fmt.Errorf("%w: put back the newer copy of the database, or remove the snapshot", ErrBeyondHelp)
	case !l.Missing && len(l.Faults) == len(r.broken[key]) && !slices.ContainsFunc(l.Faults, other):
		if r.snaps.Reinscribe(r.ctx, key, r.opts.DryRun) == nil {
			o.record = true
			return nil
		}
	}
	if l.Store != "" {
		return fmt.Errorf("%w: give the store %s with --additional, or check and repair it by itself", ErrBeyondHelp, l.Store)
	}
	err := r.fromSource(key, l, o)
	imported := l.Labels[image.LabelLayer] == key
	switch {
	case err == nil:
		return nil
	case durable.NoRoom(err):
		return fmt.Errorf("%w: make room, and repair the store again", err)
	case errors.Is(err, driver.ErrBusy):
		return fmt.Errorf("%w: unmount it, and repair the store again", err)
	case errors.Is(err, driver.ErrUnsupported):
		return fmt.Errorf("%w: remove it and what stands on it, and make it again", err)
	case errors.Is(err, image.ErrNoSource) && imported:
		return fmt.Errorf("%w: %w: import the image again", ErrBeyondHelp, err)
	case errors.Is(err, errGone):
		return fmt.Errorf("%w: %w: remove it and what stands on it", ErrBeyondHelp, err)
	case errors.Is(err, image.ErrNoSource):
		return fmt.Errorf("%w: %w: take what is still good out of it, then remove it and what stands on it", ErrBeyondHelp, err)
	case imported:
		return fmt.Errorf("%w: import the image again", err)
	}
	return err
}

// errGone: nothing is left of a layer.
var errGone = errors.New("its files are gone")

// fromSource unpacks a layer again from its blob. If only its record is
// damaged, fromSource may write the record again instead.
func (r *repairer) fromSource(key string, l snapshotter.Layer, o *Outcome) error {
	if !onlyRecord(l) {
		return r.images.RenewLayer(r.ctx, key, r.opts.DryRun)
	}
	var recorded error
	if l.Digest != "" { // the digest verifies the files, so nothing has to be unpacked
		if recorded = r.record(key, l, o); recorded == nil {
			return nil
		}
	}
	err := r.images.RenewLayer(r.ctx, key, r.opts.DryRun)
	if !hasNoBlob(err) {
		return err
	}
	if l.Digest == "" {
		recorded = r.record(key, l, o)
	}
	switch {
	case recorded == nil, errors.Is(recorded, driver.ErrBusy):
		return recorded
	case errors.Is(recorded, driver.ErrNotFound):
		return fmt.Errorf("%w, and %w", err, errGone)
	case errors.Is(recorded, driver.ErrUnsupported):
		return err
	default:
		return fmt.Errorf("%w; %w", err, recorded)
	}
}

// record writes the record of a layer again.
func (r *repairer) record(key string, l snapshotter.Layer, o *Outcome) error {
	if err := r.snaps.Rerecord(r.ctx, key, r.opts.DryRun); err != nil {
		return err
	}
	o.record, o.Unverified = true, l.Kind == meta.Committed && l.Digest == ""
	return r.letGo(key, o)
}

// hasNoBlob reports whether an error says that there is no sound blob to show
// what a layer must contain. An error that only prevents unpacking a sound blob
// now does not count.
func hasNoBlob(err error) bool {
	for _, none := range []error{image.ErrNoSource, image.ErrBlobDamaged, driver.ErrUnsupported, driver.ErrDigest, driver.ErrInvalidLayer} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}

// onlyRecord reports whether the record of a layer is lost or wrong, and no
// other damage is known. A quarantine does not count as damage.
func onlyRecord(l snapshotter.Layer) bool {
	record := func(err error) bool {
		return errors.Is(err, snapshotter.ErrRecord) || errors.Is(err, snapshotter.ErrLayerMissing)
	}
	other := func(err error) bool { return !record(err) && !errors.Is(err, snapshotter.ErrQuarantined) }
	return l.Store == "" && slices.ContainsFunc(l.Faults, record) && !slices.ContainsFunc(l.Faults, other)
}

// explain adds the layers that were not tried because a layer below them is
// damaged, and reports the repairs that did not last.
func (r *repairer) explain() {
	for _, key := range r.order {
		if r.broken[key] == nil {
			continue
		}
		o, lowest := r.tried[key], r.below(key)
		if below := r.tried[lowest]; o == nil && r.opts.DryRun && below != nil && below.Err == nil {
			continue // a real run would check it again
		}
		if o == nil {
			o = r.outcome(r.broken[key])
			o.Err = fmt.Errorf("%w, that of snapshot %s", ErrStandsOn, lowest)
			continue
		}
		if o.Err == nil && !r.opts.DryRun {
			r.fill(o, r.broken[key])
			if o.Err = ErrStill; o.record {
				o.Err = ErrNotAlone
			}
		}
	}
}

// below returns the lowest snapshot below key whose layer is broken. It returns
// "" if there is none.
func (r *repairer) below(key string) (lowest string) {
	for range r.layers { // the bound ends a cycle, which only damage can make
		if key = r.layers[key].Parent; key == "" {
			break
		}
		if r.broken[key] != nil {
			lowest = key
		}
	}
	return lowest
}

// above returns the snapshots above key, parents before their children.
func (r *repairer) above(key string) (keys []string) {
	on := map[string]bool{key: true}
	for _, k := range r.order {
		if on[r.layers[k].Parent] && !on[k] {
			on[k] = true
			keys = append(keys, k)
		}
	}
	return keys
}

// untold returns those of the snapshots for which nothing tells what they must
// contain.
func (r *repairer) untold(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		l := r.layers[key]
		return l.Kind == meta.View || l.Labels[image.LabelLayer] == key
	})
}

// outcome adds an outcome for a damaged thing with these findings.
func (r *repairer) outcome(found []check.Finding) *Outcome {
	o := r.fill(&Outcome{}, found)
	r.outcomes = append(r.outcomes, o)
	return o
}

func (r *repairer) fill(o *Outcome, found []check.Finding) *Outcome {
	f := found[0]
	o.Part, o.Name, o.Layer, o.What, o.Findings = f.Part, f.Name, f.Layer, f.What, len(found)
	if f.Path != "" {
		o.What = f.Path + ": " + f.What
	}
	o.Images = f.Images
	if f.Part == check.Snapshot {
		o.Snapshots = r.above(f.Name)
	}
	return o
}

// imageList writes the copy of the list of images again. Images that only the
// copy has stay in it: what they lack was already reported.
func (r *repairer) imageList() error {
	if err := r.images.RenewBackup(r.ctx); err != nil {
		return err
	}
	wrong, err := r.images.CheckBackup(r.ctx)
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("%w: import the image again, or forget it with 'snapctl rmi'", ErrBeyondHelp)
	}
	return err
}

// others repairs the blobs, and reports the rest. It runs after the layers,
// because a blob may be made from a layer.
func (r *repairer) others(found []check.Finding) error {
	for _, f := range found {
		switch {
		case f.Broken, f.Part == check.Layer, f.Blob != "" && r.blobs[f.Blob]:
			continue
		case f.Blob != "":
			r.blobs[f.Blob] = true
			o := r.outcome([]check.Finding{f})
			o.Part, o.Name, o.Layer, o.Snapshots = check.Blob, f.Blob.String(), "", nil
			if o.Err = r.images.RenewBlob(r.ctx, f.Blob, r.opts.DryRun); o.Err != nil {
				o.Err = fmt.Errorf("%w: import the image again", o.Err)
				if !r.opts.DryRun { // so that an import checks more than the size of the blob
					o.Err = errors.Join(o.Err, r.images.DoubtBlob(f.Blob))
				}
			}
		case f.Part == check.Database:
			r.outcome([]check.Finding{f}).Err = fmt.Errorf("%w: put back a copy of the database, and repair the store then", ErrBeyondHelp)
		case f.Part == check.Image && f.Name == "":
			if o := r.outcome([]check.Finding{f}); !r.opts.DryRun {
				o.Err = r.imageList()
			}
		case f.Part == check.Image:
			r.outcome([]check.Finding{f}).Err = fmt.Errorf("%w: import the image again", ErrBeyondHelp)
		default:
			r.outcome([]check.Finding{f}).Err = fmt.Errorf("%w: what the database lacks is not known", ErrBeyondHelp)
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
