package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// heals are layers that wait until the layers below them are repaired. The zero
// value is ready for use.
type heals struct {
	mu      sync.Mutex // held while layers are made again
	waiting map[string]heal
}

// A heal says from where the layer of a snapshot can be read again.
type heal struct {
	row    meta.Snapshot
	reopen Reopen
	source string
	diffID digest.Digest
}

// Heal makes damaged layers of the scope again when an engine unpacks the same
// layer again. The engine does that because [Scope.StatWhole] did not find the
// layer.
//
// key is the snapshot in which the engine unpacks; its name ends in the chainID
// of the layer. source is the text that [Scope.ApplyFrom] was given, and diffID
// the digest that it has read.
//
// Names of the engine's snapshots of this layer end in the same chainID. An
// engine does not commit to a name that it already knows, so Heal repairs these
// snapshots separately. It repairs a snapshot only when its layer is damaged,
// and only when diffID and the chainID of its parent give its own chainID. Heal
// logs errors; the damage then stays.
func (sc *Scope) Heal(ctx context.Context, key, source string, diffID digest.Digest) {
	key = sc.Full(key)
	chainID, ok := extracted(key)
	reopen := sc.s.sources.of(key)
	if !ok || reopen == nil || sc.s.readOnly {
		return
	}
	rows, err := sc.s.damagedAs(ctx, sc.prefix, chainID)
	if err == nil && len(rows) > 0 {
		err = sc.s.heal(ctx, rows, heal{reopen: reopen, source: source, diffID: diffID})
	}
	if err != nil {
		sc.s.log.WarnContext(ctx, "a damaged layer could not be unpacked again", "chainID", chainID, "error", err)
	}
}

// extracted returns the chainID at the end of the key under which an engine
// unpacks a layer. The last component of such a key is "extract-NUMBER
// CHAINID".
func extracted(key string) (digest.Digest, bool) {
	if !IsExtraction(key) {
		return "", false
	}
	_, last, _ := strings.Cut(path.Base(key), " ")
	d := digest.Digest(last)
	return d, d.Validate() == nil
}

// damagedAs returns the committed snapshots of the layer chainID, among those
// whose names begin with prefix, whose layers are damaged.
func (s *Snapshotter) damagedAs(ctx context.Context, prefix string, chainID digest.Digest) (damaged []meta.Snapshot, err error) {
	var rows []meta.Snapshot
	err = s.view(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			if row.Kind == meta.Committed && row.State == meta.Ready && strings.HasPrefix(row.Name, prefix) && path.Base(row.Name) == chainID.String() {
				rows = append(rows, row)
			}
			return ctx.Err()
		})
	})
	for _, row := range rows {
		if IsDamage(s.recorded(ctx, row)) {
			damaged = append(damaged, row)
		}
	}
	return damaged, err
}

// heal makes the layers of the rows again, and then the layers that were
// waiting for them.
func (s *Snapshotter) heal(ctx context.Context, rows []meta.Snapshot, from heal) error {
	s.heals.mu.Lock()
	defer s.heals.mu.Unlock()
	if s.heals.waiting == nil {
		s.heals.waiting = map[string]heal{}
	}
	var errs []error
	for _, row := range rows {
		from.row = row
		if !from.isOf(row) {
			errs = append(errs, fmt.Errorf("snapshot %q: what was unpacked is another layer, %s", row.Name, from.diffID))
			continue
		}
		s.heals.waiting[row.Name] = from
	}
	for again := true; again; {
		again = false
		for name, h := range s.heals.waiting {
			if h.row.Parent != "" && s.whole(ctx, h.row.Parent) != nil {
				continue // its parent has to be repaired first
			}
			delete(s.heals.waiting, name)
			if s.recorded(ctx, h.row) == nil {
				continue // another call has repaired it
			}
			err := s.renewFrom(ctx, h)
			again = again || err == nil
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// isOf reports whether the row's name ends in the chainID that a layer with
// this diffID has over the row's parent.
func (h heal) isOf(row meta.Snapshot) bool {
	chainID := path.Base(row.Name)
	if row.Parent == "" {
		return chainID == h.diffID.String()
	}
	return chainID == digest.FromString(path.Base(row.Parent)+" "+h.diffID.String()).String()
}

func (s *Snapshotter) renewFrom(ctx context.Context, h heal) error {
	layer, opts, err := h.reopen(ctx, h.source)
	if err != nil {
		return fmt.Errorf("snapshot %q: %w", h.row.Name, err)
	}
	opts.DiffID = h.diffID
	err = errors.Join(s.Renew(ctx, h.row.Name, layer, opts), layer.Close())
	if err == nil {
		s.log.WarnContext(ctx, "damaged layer was unpacked again", "key", h.row.Name, "layer", h.row.Layer)
	}
	return err
}
