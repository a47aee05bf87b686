package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A Layer is what the driver and the database say about one layer, for a check
// of the store.
type Layer struct {
	ID driver.ID
	// Name and Kind are those of the row, empty for a layer that no row names.
	Name string
	Kind meta.Kind
	// Parent is the name of the parent in the row.
	Parent string
	// Depth is the number of rows from this one down to the lowest, both
	// included. Only Inspect and Survey set it.
	Depth int
	// Labels are the labels of the row.
	Labels map[string]string
	// Digest is the digest of the layer's changes at its commit, empty for
	// none.
	Digest digest.Digest
	// Store is the ID of the additional store that has the layer, empty for
	// this store.
	Store string
	// Faults are the contradictions that were found, one sentence each.
	Faults []error
	// Missing: the layer does not exist, or nothing of it can be read.
	Missing bool
}

// Errors of a Layer, wrapped with what does not agree.
var (
	// ErrLayerMissing: the row names a layer that is not on disk.
	ErrLayerMissing = errors.New("its layer is missing")
	// ErrLayerTorn: the layer can only be removed, see [driver.ErrTorn].
	ErrLayerTorn = errors.New("it is torn, and can only be removed")
	// ErrLayerUnnamed: no row names this layer on disk.
	ErrLayerUnnamed = errors.New("no snapshot has this layer")
	// ErrRecord: the record of the layer is unreadable, or contradicts the row.
	ErrRecord = errors.New("its record does not agree with the database")
	// ErrHints: the hints of a layer are missing or damaged, see
	// [driver.HintKeeper]. No content of the layer is lost. It matches
	// ErrRecord, and [Snapshotter.Reinscribe] repairs it.
	ErrHints error = hintsDamage{}
	// ErrOlder: the layer is newer than the database.
	ErrOlder = errors.New("the database is older than this layer")
)

type hintsDamage struct{}

func (hintsDamage) Error() string {
	return "what tells which of its files were copied unchanged is lost or damaged, so that all are compared"
}

func (hintsDamage) Is(target error) bool { return target == ErrRecord }

// Inspect returns all layers of the store, with every contradiction between the
// database, the records of the layers, and the disk. Parents come before their
// children; layers that no row names come last. Inspect reads no files of
// layers.
//
// During the call no snapshot should be made, committed or removed: a change in
// progress looks like damage. In a store that is in use call
// [Snapshotter.Survey].
func (s *Snapshotter) Inspect(ctx context.Context) ([]Layer, error) {
	return s.layers(ctx, func(row meta.Snapshot, rows map[string]meta.Snapshot, generation uint64) Layer {
		return s.inspectRow(ctx, row, rows, generation)
	})
}

// Survey is Inspect for a store that is in use. For a layer that has a row it
// returns what the row says, and does not read the record; call
// [Snapshotter.Examine] for that. Layers that no row names come with their
// faults.
func (s *Snapshotter) Survey(ctx context.Context) ([]Layer, error) {
	return s.layers(ctx, func(row meta.Snapshot, _ map[string]meta.Snapshot, _ uint64) Layer { return newLayer(row) })
}

// layers returns all layers. For a layer that has a snapshot it calls look.
func (s *Snapshotter) layers(ctx context.Context, look func(row meta.Snapshot, rows map[string]meta.Snapshot, generation uint64) Layer) ([]Layer, error) {
	end, err := s.calls.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	rows, generation, err := s.allRows()
	if err != nil {
		return nil, err
	}
	unnamed, err := s.unnamedLayers(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string]meta.Snapshot{}
	for _, row := range rows {
		byName[row.Name] = row
	}
	// IDs rise with time, but a commit may give a snapshot a parent that was made
	// after it. So sort by depth.
	depth := depths(rows)
	slices.SortStableFunc(rows, func(a, b meta.Snapshot) int { return depth[a.Name] - depth[b.Name] })
	var layers []Layer
	for _, row := range rows {
		if row.State != meta.Ready {
			continue
		}
		l := look(row, byName, generation)
		l.Depth = depth[row.Name]
		layers = append(layers, l)
	}
	for _, id := range unnamed {
		if l, ok := s.inspectUnnamed(ctx, id, generation); ok {
			layers = append(layers, l)
		}
	}
	return layers, ctx.Err()
}

func (s *Snapshotter) allRows() (rows []meta.Snapshot, generation uint64, err error) {
	err = s.view(func(tx *meta.Tx) (err error) {
		if generation, err = tx.Generation(); err != nil {
			return err
		}
		rows, err = allRows(tx)
		return err
	})
	return rows, generation, err
}

// unnamedLayers returns the layers that no row names. It first lists the layers
// on disk and then reads the rows. A layer has a row before it is made and
// until it is gone, and no other layer gets its ID. So a listed layer that is
// in no row has none if it still exists.
func (s *Snapshotter) unnamedLayers(ctx context.Context) ([]driver.ID, error) {
	there, err := s.driver.Layers(ctx)
	if err != nil {
		return nil, classify(fmt.Errorf("list layers: %w", err))
	}
	rows, _, err := s.allRows()
	if err != nil {
		return nil, err
	}
	unnamed := map[driver.ID]bool{}
	for _, id := range there {
		unnamed[id] = true
	}
	for _, row := range rows {
		delete(unnamed, layerOf(row))
		delete(unnamed, driver.ID(row.Spare))
	}
	return slices.Sorted(maps.Keys(unnamed)), nil
}

// depths returns for each row the number of rows from it down to the lowest,
// both included.
func depths(rows []meta.Snapshot) map[string]int {
	depth := map[string]int{}
	byName := map[string]meta.Snapshot{}
	for _, row := range rows {
		byName[row.Name] = row
	}
	var deep func(name string) int
	deep = func(name string) int {
		row, ok := byName[name]
		if !ok {
			return 0
		}
		if d, ok := depth[name]; ok {
			return d
		}
		depth[name] = 0 // ends the recursion in a circle, which only damage can cause
		depth[name] = 1 + deep(row.Parent)
		return depth[name]
	}
	for _, row := range rows {
		deep(row.Name)
	}
	return depth
}

// newLayer returns what a row says about its layer.
func newLayer(row meta.Snapshot) Layer {
	return Layer{
		ID: layerOf(row), Name: row.Name, Kind: row.Kind, Parent: row.Parent, Labels: row.Labels,
		Digest: digest.Digest(row.Digest), Store: row.Store,
	}
}

func (s *Snapshotter) inspectRow(ctx context.Context, row meta.Snapshot, rows map[string]meta.Snapshot, generation uint64) Layer {
	l := newLayer(row)
	if err := s.elsewhere(row); err != nil {
		l.Missing = true
		l.fault("%w", err)
		return l
	}
	if err := s.inQuarantine(row); err != nil {
		l.fault("%w", err)
	}
	r, ok := s.driver.(driver.Recorder)
	if !ok {
		return l
	}
	record, err := recordOf(ctx, r, row)
	if err != nil {
		l.Missing = true
		l.fault("%w", err)
		return l
	}
	if row.Store != "" { // the rest of the record belongs to the other store
		return l
	}
	if record.Torn {
		l.fault("%w", ErrLayerTorn)
	}
	var above []driver.ID
	for parent := row.Parent; parent != "" && len(above) < len(rows); parent = rows[parent].Parent {
		above = append(above, layerOf(rows[parent]))
	}
	if row.Rebase == "" && !slices.Equal(above, record.Parents) {
		l.fault("%w: it stands on the layers %v, its snapshot on %v", ErrRecord, record.Parents, above)
	}
	if row.Kind == meta.Committed && !record.Sealed {
		l.fault("%w: its snapshot is committed, and it was never sealed", ErrRecord)
	}
	s.inspectCard(&l, record, generation)
	if k, ok := s.driver.(driver.HintKeeper); ok {
		if err := k.CheckHints(ctx, l.ID); canBeDamage(err) && ctx.Err() == nil {
			l.fault("%w: %w", ErrHints, err)
		}
	}
	return l
}

// recordOf returns the record of a row's layer. The error matches
// ErrLayerMissing when there is no such layer, and otherwise ErrRecord.
func recordOf(ctx context.Context, r driver.Recorder, row meta.Snapshot) (driver.Record, error) {
	record, err := r.Record(ctx, layerOf(row))
	switch {
	case errors.Is(err, driver.ErrNotFound):
		err = ErrLayerMissing
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrRecord, err)
	case record.Foreign && !row.Foreign:
		err = fmt.Errorf("%w: it is lost, so that the layer looks like one of another engine", ErrRecord)
	}
	return record, err
}

// inspectCard compares the card in the record with the row. It compares names
// only for a committed snapshot, and then accepts the names from before a
// rename. The card of a snapshot that is not committed may have the name from a
// commit that failed.
func (s *Snapshotter) inspectCard(l *Layer, record driver.Record, generation uint64) {
	c, ok, err := readCard(record)
	switch {
	case err != nil:
		l.fault("%w: %w", ErrRecord, err)
		return
	case !ok:
		return
	}
	if c.Generation > generation {
		l.fault("%w: a copy of it was put back", ErrOlder)
	}
	if s.id != "" && c.Store != "" && c.Store != s.id {
		l.fault("%w: it was made in the store %s, this is %s", ErrRecord, c.Store, s.id)
	}
	if l.Kind == meta.Committed && (c.Kind != l.Kind || !s.isNamed(c.Name, l.Name) || !s.isNamed(c.Parent, l.Parent)) {
		l.fault("%w: it was %s %q on %q, now it is %s %q on %q", ErrRecord, c.Kind, c.Name, c.Parent, l.Kind, l.Name, l.Parent)
	}
}

// inspectUnnamed describes a layer that no row names. ok is false when the
// layer no longer exists.
func (s *Snapshotter) inspectUnnamed(ctx context.Context, id driver.ID, generation uint64) (l Layer, ok bool) {
	l = Layer{ID: id}
	said := ""
	if r, ok := s.driver.(driver.Recorder); ok {
		record, err := r.Record(ctx, id)
		if errors.Is(err, driver.ErrNotFound) {
			if there, err := s.driver.Layers(ctx); err == nil && !slices.Contains(there, id) {
				return l, false // it was removed meanwhile
			}
		}
		c, known, cardErr := readCard(record)
		switch {
		case err != nil:
			said = fmt.Sprintf(", and its record is unreadable: %v", err)
		case cardErr != nil:
			said = fmt.Sprintf(", and %v", cardErr)
		case known:
			said = fmt.Sprintf(": it was %s %q, made at %s", c.Kind, c.Name, c.Created.Format(time.RFC3339))
			if c.Generation > generation {
				said += ", and is newer than the database"
			}
		}
	}
	l.fault("%w%s", ErrLayerUnnamed, said)
	return l, true
}

func (l *Layer) fault(format string, args ...any) {
	l.Faults = append(l.Faults, fmt.Errorf(format, args...))
}

// Views opens the merged trees of a snapshot and of its parent, for a
// comparison of the two. parent is nil for a snapshot without a parent.
func (s *Snapshotter) Views(ctx context.Context, key string) (parent, merged diff.View, err error) {
	info, err := s.Stat(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	if info.Parent != "" {
		if parent, err = s.OpenView(ctx, info.Parent); err != nil {
			return nil, nil, err
		}
	}
	if merged, err = s.OpenView(ctx, key); err != nil {
		if parent != nil {
			err = errors.Join(err, parent.Close())
		}
		return nil, nil, err
	}
	return parent, merged, nil
}
