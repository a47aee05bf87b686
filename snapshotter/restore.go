package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// A Restored is a layer that no snapshot had, and what became of it.
type Restored struct {
	Layer driver.ID
	// Name is that of the snapshot that it is again; empty where Err says why it is none.
	Name string
	Kind meta.Kind
	// Renamed: the name is made up, since the layer's record has none, or one that
	// another snapshot has.
	Renamed bool
	Err     error
}

// restoredPrefix begins the made-up names of snapshots; the layer's ID follows.
const restoredPrefix = "restored-"

// Restore gives the layers that no row names their snapshots again, as their records
// tell. With dryRun it only says what it would do. A layer that cannot be a snapshot stays
// as it is.
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
	err = s.view(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(row meta.Snapshot) error {
			rows = append(rows, row)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	p, err := s.planRestore(ctx, rows)
	if err != nil || dryRun || len(p.rows) == 0 {
		return p.layers, err
	}
	for i, row := range p.rows {
		if row.Kind != meta.Committed {
			continue
		}
		usage, err := s.driver.Usage(ctx, layerOf(row))
		if err != nil {
			return nil, classify(fmt.Errorf("usage of layer %s: %w", row.Layer, err))
		}
		p.rows[i].Usage = meta.Usage{Bytes: usage.Bytes, Inodes: usage.Inodes}
	}
	err = s.update("restore", func(tx *meta.Tx) error {
		for _, row := range p.rows {
			if _, err := tx.CreateSnapshot(row); err != nil {
				return err
			}
		}
		return tx.RaiseGeneration(p.generation + 1)
	})
	return p.layers, err
}

// A restorePlan is what Restore would do.
type restorePlan struct {
	layers []Restored
	rows   []meta.Snapshot // to be made, parents first
	// generation is the highest that a record tells of.
	generation uint64
	// store is the ID that records tell of, the last one.
	store string
}

// planRestore looks at the records of all layers that none of rows has.
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
	type found struct {
		id     driver.ID
		record driver.Record
	}
	var list []found
	for _, id := range ids {
		record, err := recorder.Record(ctx, id)
		if errors.Is(err, driver.ErrNotFound) {
			continue
		}
		if err != nil {
			p.layers = append(p.layers, Restored{Layer: id, Err: err})
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
	for _, f := range list {
		r, row := restoreRow(f.id, f.record, named, byLayer)
		if c, ok, _ := readCard(f.record); ok {
			p.generation = max(p.generation, c.Generation)
			p.store = c.Store
		}
		p.layers = append(p.layers, r)
		if r.Err == nil {
			named[row.Name], byLayer[f.id] = true, row
			p.rows = append(p.rows, row)
		}
	}
	return p, nil
}

// compareIDs sorts the numbers that we give by their values: older ones come first.
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
func restoreRow(id driver.ID, record driver.Record, named map[string]bool, byLayer map[driver.ID]meta.Snapshot) (Restored, meta.Snapshot) {
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
		row.Kind = meta.Committed
	case record.View:
		row.Kind = meta.View
	}
	if row.Name == "" || named[row.Name] {
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

// Rebuild opens a store whose database is lost or damaged, with a new one that has what
// the records of the layers tell. The old one stays beside it, under the name that is
// returned, empty when there was none. With dryRun nothing is changed and nil is returned
// for the store.
//
// It returns ErrSound for a store whose database can be opened: [Snapshotter.Restore]
// is for layers that it does not name. Labels are those of when a snapshot was made or
// committed; records of other packages, such as the names of images, are theirs to make
// again.
func Rebuild(ctx context.Context, root string, opts Options, dryRun bool) (s *Snapshotter, layers []Restored, old string, err error) {
	if opts.ReadOnly {
		return nil, nil, "", errReadOnly
	}
	root, shared, err := prepareRoot(root, opts)
	if err != nil {
		return nil, nil, "", err
	}
	layers, old, err = replaceDatabase(ctx, root, shared, opts, dryRun)
	if err != nil {
		return nil, nil, "", fmt.Errorf("rebuild store %s: %w", root, err)
	}
	if dryRun {
		return nil, layers, old, nil
	}
	opts.restoring = true
	if s, err = Open(ctx, root, opts); err != nil {
		return nil, nil, old, err
	}
	if layers, err = s.Restore(ctx, false); err != nil {
		return nil, nil, old, errors.Join(err, s.Close())
	}
	return s, layers, old, nil
}

// ErrSound: there is nothing to rebuild.
var ErrSound = errors.New("the database can be opened")

// replaceDatabase puts a new database, and a header where it is missing, in the place of
// what is lost.
func replaceDatabase(ctx context.Context, root string, shared bool, opts Options, dryRun bool) (_ []Restored, old string, err error) {
	s := &Snapshotter{root: root, log: slog.New(slog.DiscardHandler)}
	if s.lock, err = lockStore(ctx, root, opts.Address, opts.LockTimeout); err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, s.release()) }()
	head, err := readHeader(root)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged):
		head = header{Format: formatVersion, Shared: shared}
		if head.Driver, err = all.Made(root); err == nil && head.Driver == "" {
			err = fmt.Errorf("%w: there is no header, and there are no layers", ErrNotStore)
		}
		if err == nil {
			if kept, err := keepDatabase(root, head, dryRun); kept || err != nil {
				return nil, "", err
			}
		}
	case err == nil:
		if db, openErr := meta.Open(filepath.Join(root, metaName)); openErr == nil {
			return nil, "", errors.Join(ErrSound, db.Close())
		} else if errors.Is(openErr, meta.ErrInUse) || errors.Is(openErr, meta.ErrNewer) {
			return nil, "", openErr
		}
	}
	if err != nil {
		return nil, "", err
	}
	if opts.Driver != "" && opts.Driver != head.Driver {
		return nil, "", fmt.Errorf("%w: it was made with %s, not %s", ErrOtherDriver, head.Driver, opts.Driver)
	}
	opts.DriverOptions.Existing, opts.DriverOptions.Known = true, head.known()
	if opts.open == nil {
		opts.open = func(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, error) {
			d, _, err := all.Select(ctx, root, name, opts)
			return d, err
		}
	}
	if s.driver, err = opts.open(ctx, root, head.Driver, opts.DriverOptions); err != nil {
		return nil, "", classify(err)
	}
	p, err := s.planRestore(ctx, nil)
	if err != nil || dryRun {
		return p.layers, "", err
	}
	if head.ID == "" {
		head.ID = p.store
	}
	old, err = s.newDatabase(head, p.generation)
	return p.layers, old, err
}

// keepDatabase writes a header for a database that can be opened, and reports whether
// there is one.
func keepDatabase(root string, head header, dryRun bool) (bool, error) {
	db, err := meta.Open(filepath.Join(root, metaName))
	if err != nil {
		return false, nil //nolint:nilerr // then it is made anew
	}
	err = db.View(func(tx *meta.Tx) (err error) {
		head.ID = tx.Store()
		head.Generation, err = tx.Generation()
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil || dryRun {
		return true, err
	}
	return true, writeHeader(root, head)
}

// damagedInfix is between the name of a database that was put aside and the time.
const damagedInfix = ".damaged-"

// newDatabase puts the old database aside, returns where it is, and makes a new one that is empty but for the
// store's ID and a generation over that of all layers.
func (s *Snapshotter) newDatabase(head header, generation uint64) (old string, err error) {
	path := filepath.Join(s.root, metaName)
	if _, err := os.Lstat(path); err == nil {
		old = fmt.Sprintf("%s%s%s", path, damagedInfix, time.Now().UTC().Format("20060102T150405"))
		if err := os.Rename(path, old); err != nil {
			return "", err
		}
	}
	db, err := meta.Create(path)
	if err != nil {
		return old, err
	}
	err = db.Update(func(tx *meta.Tx) error {
		if err := tx.SetStore(head.ID); err != nil {
			return err
		}
		if err := tx.RaiseGeneration(max(generation, head.Generation) + 1); err != nil {
			return err
		}
		head.Generation, err = tx.Generation()
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return old, err
	}
	return old, writeHeader(s.root, head)
}
