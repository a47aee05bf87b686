package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A Restored describes a layer that no snapshot had, and what became of it.
type Restored struct {
	Layer driver.ID
	// Name is the name of the snapshot that the layer has become. It is empty
	// when Err says why there is none.
	Name string
	Kind meta.Kind
	// Renamed: the name is a new one, because the record of the layer has no
	// name, or the name of another snapshot.
	Renamed bool
	Err     error
}

// ErrNoRecord: a layer cannot become a snapshot again, because its record is
// lost.
var ErrNoRecord = errors.New("its record is lost, so its name and its parents are unknown")

// restoredPrefix begins the generated name of a snapshot; the ID of its layer
// follows.
const restoredPrefix = "restored-"

// Restore makes snapshots again for layers that no row names, from the records
// of the layers. With dryRun it only says what it would do. A layer that cannot
// become a snapshot stays as it is.
func (s *Snapshotter) Restore(ctx context.Context, dryRun bool) ([]Restored, error) {
	begin := s.beginChange
	if dryRun {
		begin = s.calls.begin
	}
	end, err := begin()
	if err != nil {
		return nil, err
	}
	defer end()
	var rows []meta.Snapshot
	err = s.view(func(tx *meta.Tx) (err error) {
		rows, err = allRows(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	p, err := s.planRestore(ctx, rows)
	if err != nil || dryRun || len(p.rows) == 0 {
		return p.layers, err
	}
	if err := s.measure(ctx, p); err != nil {
		return nil, err
	}
	err = s.update("restore", p.write)
	if err != nil {
		return nil, err
	}
	s.unnamed = slices.DeleteFunc(s.unnamed, func(id driver.ID) bool {
		return slices.ContainsFunc(p.rows, func(row meta.Snapshot) bool { return layerOf(row) == id })
	})
	return p.layers, s.inscribeRenamed(ctx, p)
}

// Unnamed returns the number of layers that no row named when the store was
// opened and that no row names now.
func (s *Snapshotter) Unnamed() int { return len(s.unnamed) }

// write adds the rows to a database. It also raises the generation of the
// database above that of every record.
func (p restorePlan) write(tx *meta.Tx) error {
	for _, row := range p.rows {
		if _, err := tx.CreateSnapshot(row); err != nil {
			return err
		}
	}
	return tx.RaiseGeneration(p.generation + 1)
}

// inscribeRenamed writes the generated names into the records of committed
// layers. It updates the records of layers that got such a name, and of their
// children, whose records name the parent.
func (s *Snapshotter) inscribeRenamed(ctx context.Context, p restorePlan) error {
	renamed := map[string]bool{}
	for _, l := range p.layers {
		renamed[l.Name] = l.Renamed
	}
	for _, row := range p.rows {
		if row.Kind == meta.Committed && (renamed[row.Name] || renamed[row.Parent]) {
			if err := s.inscribe(ctx, row); err != nil {
				return classify(fmt.Errorf("record of layer %s: %w", row.Layer, err))
			}
		}
	}
	return nil
}

// measure sets Usage in the planned rows of committed snapshots.
func (s *Snapshotter) measure(ctx context.Context, p restorePlan) error {
	for i, row := range p.rows {
		if row.Kind != meta.Committed {
			continue
		}
		usage, err := s.driver.Usage(ctx, layerOf(row))
		if err != nil {
			return classify(fmt.Errorf("usage of layer %s: %w", row.Layer, err))
		}
		p.rows[i].Usage = meta.Usage{Bytes: usage.Bytes, Inodes: usage.Inodes}
	}
	return nil
}

// A restorePlan lists what Restore will do.
type restorePlan struct {
	layers []Restored
	rows   []meta.Snapshot // to be made, parents first
	// generation is the highest generation in the records.
	generation uint64
	// store is the store ID in the records. When they differ, it is the last one
	// that was read.
	store string
}

// planRestore reads the records of all layers that are in none of the rows.
func (s *Snapshotter) planRestore(ctx context.Context, rows []meta.Snapshot) (restorePlan, error) {
	var p restorePlan
	recorder, ok := s.driver.(driver.Recorder)
	if !ok {
		return p, fail(errdefs.ErrNotImplemented, "driver %s keeps no records: %w", s.driver.Name(), driver.ErrUnsupported)
	}
	ids, err := s.driver.Layers(ctx)
	if err != nil {
		return p, classify(fmt.Errorf("list layers: %w", err))
	}
	named, byLayer := map[string]bool{}, map[driver.ID]meta.Snapshot{}
	for _, row := range rows {
		named[row.Name] = true
		byLayer[layerOf(row)] = row
		ids = slices.DeleteFunc(ids, func(id driver.ID) bool { return id == layerOf(row) || string(id) == row.Spare })
	}
	if err := s.planForeign(ctx, named, byLayer); err != nil {
		return p, err
	}
	type found struct {
		id     driver.ID
		record driver.Record
	}
	var list []found
	var still map[driver.ID]bool
	for _, id := range ids {
		record, err := recorder.Record(ctx, id)
		if errors.Is(err, driver.ErrNotFound) {
			if still == nil { // at most once: all records may be lost
				if still, err = s.idSet(ctx); err != nil {
					return p, err
				}
			}
			if !still[id] {
				continue
			}
			err = ErrNoRecord
		}
		if err != nil {
			p.layers = append(p.layers, Restored{Layer: id, Err: s.byHand(id, err)})
			continue
		}
		list = append(list, found{id, record})
	}
	slices.SortFunc(list, func(a, b found) int {
		if n := len(a.record.Parents) - len(b.record.Parents); n != 0 {
			return n
		}
		return compareIDs(a.id, b.id)
	})
	newest := map[string]uint64{} // generations, by name
	for _, f := range list {
		if c, ok, _ := readCard(f.record); ok {
			newest[c.Name] = max(newest[c.Name], c.Generation)
			p.generation = max(p.generation, c.Generation)
			p.store = c.Store
		}
	}
	for _, f := range list {
		r, row := restoreRow(f.id, f.record, named, newest, byLayer)
		p.layers = append(p.layers, r)
		if r.Err == nil {
			named[row.Name], byLayer[f.id] = true, row
			p.rows = append(p.rows, row)
		}
	}
	return p, nil
}

// idSet returns the IDs of the layers on disk.
func (s *Snapshotter) idSet(ctx context.Context) (map[driver.ID]bool, error) {
	ids, err := s.driver.Layers(ctx)
	if err != nil {
		return nil, classify(fmt.Errorf("list layers: %w", err))
	}
	all := map[driver.ID]bool{}
	for _, id := range ids {
		all[id] = true
	}
	return all, nil
}

// byHand adds the directory of a layer to the error of its record. No snapshot
// names this layer, and without a record nothing says what it was. So the
// program may not remove it, and the user has to do it.
func (s *Snapshotter) byHand(id driver.ID, err error) error {
	placer, ok := s.driver.(driver.Placer)
	if !ok {
		return err
	}
	dir := filepath.Join(placer.Place(), string(id))
	if _, e := os.Lstat(dir); e != nil {
		return err
	}
	return fmt.Errorf("%w: take what is still good out of %s, then remove that directory", err, dir)
}

// planForeign adds the layers of another engine that have no row to named and
// byLayer. They become committed snapshots when the store is opened, and layers
// of this store may have them as parents.
func (s *Snapshotter) planForeign(ctx context.Context, named map[string]bool, byLayer map[driver.ID]meta.Snapshot) error {
	foreign, err := s.foreign(ctx)
	for _, f := range foreign {
		if _, known := byLayer[f.ID]; !known {
			named[string(f.ID)] = true
			byLayer[f.ID] = meta.Snapshot{Name: string(f.ID), Layer: string(f.ID), Foreign: true, Kind: meta.Committed, State: meta.Ready}
		}
	}
	return err
}

// compareIDs orders the IDs that a store assigns, which are numbers, by their
// value. So older layers come first.
func compareIDs(a, b driver.ID) int {
	if n := len(a) - len(b); n != 0 {
		return n
	}
	if a < b {
		return -1
	}
	return 1
}

// restoreRow makes the row of a layer from its record.
//
// When several records have the same name, the one with the highest generation
// gets it. The others are snapshots that were removed and whose layers are
// still in use, or snapshots whose commits failed.
func restoreRow(id driver.ID, record driver.Record, named map[string]bool, newest map[string]uint64, byLayer map[driver.ID]meta.Snapshot) (Restored, meta.Snapshot) {
	r := Restored{Layer: id}
	c, ok, err := readCard(record)
	if err != nil || !ok {
		c = card{Created: now()} // the layer itself is sound
	}
	row := meta.Snapshot{
		Name: c.Name, Layer: string(id), Kind: meta.Active, State: meta.Ready, Labels: c.Labels,
		Created: c.Created.UTC().Round(0), Updated: now(),
	}
	switch {
	case record.Sealed:
		row.Kind, row.Digest = meta.Committed, c.Digest
	case record.View:
		row.Kind = meta.View
	}
	// The record does not say which layer an engine was unpacking into this
	// snapshot. So the snapshot can be removed, but not committed.
	row.Deferred = row.Kind == meta.Active && IsExtraction(row.Name)
	if row.Name == "" || named[row.Name] || c.Generation < newest[row.Name] {
		row.Name, r.Renamed = restoredPrefix+string(id), true
	}
	r.Name, r.Kind = row.Name, row.Kind
	if len(record.Parents) > 0 {
		parent, ok := byLayer[record.Parents[0]]
		switch {
		case !ok:
			r.Err = fmt.Errorf("its parent, the layer %s, is missing", record.Parents[0])
		case parent.Kind != meta.Committed || parent.State != meta.Ready:
			r.Err = fmt.Errorf("its parent, the snapshot %q, is not committed", parent.Name)
		}
		row.Parent = parent.Name
	}
	if r.Err == nil && named[row.Name] {
		r.Err = fmt.Errorf("there is a snapshot %q already", row.Name)
	}
	if r.Err != nil {
		r.Name, r.Kind = "", ""
	}
	return r, row
}
