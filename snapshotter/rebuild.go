package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// ErrSound: the database can be opened, so there is nothing to rebuild.
var ErrSound = errors.New("the database can be opened")

const (
	// damagedInfix is between the name of a damaged database that was kept and the
	// time of the rebuild.
	damagedInfix = ".damaged-"
	// rebuiltName is the name of a new database until it is complete. Open removes
	// a file of this name, which a killed process has left.
	rebuiltName = durable.TempPrefix + "rebuilt"
)

// A Rebuilt describes what [Rebuild] has done, or would do.
type Rebuilt struct {
	Layers []Restored
	// Old is the path of the old database, empty when there is none.
	Old string
	// Header: the header of the store was lost, and was made again.
	Header bool
}

// RebuildOptions tune [Rebuild].
type RebuildOptions struct {
	// Options are for opening the store.
	Options
	// DryRun changes nothing. Rebuild then returns a nil store.
	DryRun bool
	// Records, when not nil, writes records of other packages, such as the
	// names of images, into the new database. So a crash cannot leave a
	// database without them. snapshots are the snapshots in the new database.
	// tx is nil in a dry run.
	Records func(tx *meta.Tx, snapshots []meta.Snapshot) error
}

// Rebuild opens a store whose database or header is lost or damaged. It makes a
// new database from the records of the layers, and keeps the old one beside it.
// Nothing changes until the new database is complete; then one rename puts it
// in place. Snapshots get the labels that they had when they were made or
// committed.
//
// Rebuild returns [ErrSound] when database and header are sound. To find layers
// that a sound database does not have, use [Snapshotter.Restore]. Rebuild
// leaves a store alone that cannot be opened for another reason than damage, or
// that a newer version has written.
func Rebuild(ctx context.Context, root string, opts RebuildOptions) (*Snapshotter, Rebuilt, error) {
	if opts.ReadOnly && !opts.DryRun {
		return nil, Rebuilt{}, errReadOnly
	}
	root, err := makeRoot(root, true)
	if err == nil {
		err = wasStore(root) // checked before anything is made in it
	}
	if err == nil {
		err = ownfiles.Check(root, ownEntries()...)
	}
	if err == nil && !opts.DryRun {
		err = checkOwner(root, all.Foreign(root) != "", false)
	}
	if err != nil {
		return nil, Rebuilt{}, fmt.Errorf("rebuild store %s: %w", root, err)
	}
	b := &rebuilder{root: root, opts: opts}
	if err := b.takeLock(ctx); err != nil {
		return nil, Rebuilt{}, err
	}
	if err := b.run(ctx); err != nil || opts.DryRun {
		if err != nil {
			err = fmt.Errorf("rebuild store %s: %w", root, err)
		}
		if b.lock != nil {
			err = errors.Join(err, b.lock.release())
		}
		return nil, b.done, err
	}
	opts.locked, opts.restoring = b.lock, true // the lock stays taken, so no other process opens the store in between
	s, err := Open(ctx, root, opts.Options)
	if err == nil {
		err = s.inscribeRenamed(ctx, b.plan)
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}
	if err != nil {
		return nil, b.done, err
	}
	return s, b.done, nil
}

type rebuilder struct {
	root string
	opts RebuildOptions
	lock *storeLock
	plan restorePlan
	done Rebuilt
}

// takeLock locks the store. A dry run takes the lock of a reader, which writes
// nothing. In a dry run the lock is nil when the store has no lock file.
func (b *rebuilder) takeLock(ctx context.Context) (err error) {
	if b.opts.DryRun {
		b.lock, err = lockForReading(ctx, b.root, b.opts.LockTimeout)
	} else {
		b.lock, err = lockStore(ctx, b.root, b.opts.Address, b.opts.LockTimeout)
	}
	return err
}

func (b *rebuilder) run(ctx context.Context) error {
	head, err := readHeader(b.root)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrDamaged):
		b.done.Header = true
		if head, err = b.newHeader(); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if b.opts.Driver != "" && b.opts.Driver != head.Driver {
		return fmt.Errorf("%w: it was made with %s, not %s", ErrOtherDriver, head.Driver, b.opts.Driver)
	}
	sound, err := b.isSound(ctx, &head)
	var other *otherStore
	if errors.As(err, &other) {
		sound, err = b.believeDatabase(ctx, &head, other)
	}
	if err != nil {
		return err
	}
	switch {
	case sound && !b.done.Header:
		return ErrSound
	case sound && b.opts.DryRun:
		return nil
	case sound:
		return writeHeader(b.root, head)
	}
	return b.replace(ctx, head)
}

// newHeader makes the header for a store that has lost its header.
func (b *rebuilder) newHeader() (header, error) {
	name, err := all.DriverOf(b.root)
	if err == nil && name == "" {
		err = fmt.Errorf("%w: its %s is damaged, and it has no layers", ErrDamaged, headerName)
	}
	return header{Format: formatVersion, Driver: name, Shared: all.Foreign(b.root) != ""}, err
}

// wasStore returns ErrNotStore for a directory that has neither a header nor
// layers.
func wasStore(root string) error {
	_, err := os.Lstat(filepath.Join(root, headerName))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name, err := all.DriverOf(root)
	if err == nil && name == "" {
		err = fmt.Errorf("%w: it has no %s and no layers", ErrNotStore, headerName)
	}
	return err
}

// isSound reports whether Open could open the store with its database. It
// returns false for damage, and an error for everything else.
func (b *rebuilder) isSound(ctx context.Context, head *header) (bool, error) {
	damaged := func(err error) bool {
		return errors.Is(err, meta.ErrDamaged) || errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist)
	}
	open := meta.Open
	if b.opts.DryRun {
		open = meta.OpenReadOnly
	}
	db, err := open(filepath.Join(b.root, metaName))
	if err != nil {
		if damaged(err) {
			err = nil
		}
		return false, err
	}
	s := &Snapshotter{db: db, log: slog.New(slog.DiscardHandler)}
	found := *head
	err = s.view(func(tx *meta.Tx) error {
		rows, err := allRows(tx)
		if err != nil {
			return err
		}
		return tx.CheckRows(rows)
	})
	if err == nil {
		err = s.recognize(ctx, &found)
	}
	if closeErr := db.Close(); closeErr != nil {
		return false, closeErr
	}
	if err != nil {
		if damaged(err) && !errors.As(err, new(*otherStore)) {
			err = nil
		}
		return false, err
	}
	*head = found
	return true, nil
}

// believeDatabase is called when header and database have the IDs of different
// stores. The records of the layers decide which of the two is wrong. When it
// is the header, the header is made again and the database is sound.
func (b *rebuilder) believeDatabase(ctx context.Context, head *header, other *otherStore) (sound bool, err error) {
	var found restorePlan
	err = b.withDriver(ctx, *head, func(s *Snapshotter) (err error) {
		found, err = s.planRestore(ctx, nil)
		return err
	})
	if err != nil || found.store != other.database {
		return false, err
	}
	b.done.Header, head.ID = true, other.database
	return b.isSound(ctx, head)
}

// withDriver opens the driver of the store, and calls fn with a Snapshotter
// that has this driver and no database.
func (b *rebuilder) withDriver(ctx context.Context, head header, fn func(*Snapshotter) error) error {
	opts := b.opts
	opts.DriverOptions.Existing, opts.DriverOptions.Known, opts.DriverOptions.ReadOnly = true, head.known(), b.opts.DryRun
	s := &Snapshotter{root: b.root, log: slog.New(slog.DiscardHandler)}
	if opts.open == nil {
		opts.open = s.selectDriver
	}
	d, err := opts.open(ctx, b.root, head.Driver, opts.DriverOptions)
	if err != nil {
		return classify(err)
	}
	s.driver = d
	return errors.Join(fn(s), d.Close())
}

// replace makes a new database and puts it in the position of the old one.
func (b *rebuilder) replace(ctx context.Context, head header) error {
	err := b.withDriver(ctx, head, func(s *Snapshotter) (err error) {
		b.plan, err = s.planRestore(ctx, nil)
		if err == nil && !b.opts.DryRun {
			err = s.measure(ctx, b.plan)
		}
		return err
	})
	b.done.Layers = b.plan.layers
	if err != nil {
		return err
	}
	if b.opts.DryRun {
		return b.addRecords(nil)
	}
	if head.ID == "" {
		head.ID = b.plan.store
	}
	made := filepath.Join(b.root, rebuiltName)
	// On a full disk the new database gets the space of the reserve. Open makes the
	// reserve again. Nothing else uses the store, so a new mutex is enough.
	err = meta.WithReserve(filepath.Join(b.root, metaName), new(sync.Mutex), func() error { return b.write(made, &head) })
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(made)))
	}
	return b.swap(made, head)
}

// write makes the complete new database.
func (b *rebuilder) write(path string, head *header) error {
	if err := ignoreMissing(os.Remove(path)); err != nil { // left by a killed process
		return err
	}
	db, err := meta.Create(path)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *meta.Tx) error {
		if head.ID != "" {
			if err := tx.SetStore(head.ID); err != nil {
				return err
			}
		}
		if err := tx.RaiseGeneration(head.Generation + 1); err != nil {
			return err
		}
		if err := b.plan.write(tx); err != nil {
			return err
		}
		if err := b.addRecords(tx); err != nil {
			return err
		}
		head.Generation, err = tx.Generation()
		return err
	})
	return errors.Join(err, db.Close())
}

func (b *rebuilder) addRecords(tx *meta.Tx) error {
	if b.opts.Records == nil {
		return nil
	}
	return b.opts.Records(tx, b.plan.rows)
}

// swap gives the old database another name, and renames the new one to the name
// of the old one. A crash between the two steps leaves a store without a
// database, which can be rebuilt.
func (b *rebuilder) swap(made string, head header) error {
	path := filepath.Join(b.root, metaName)
	if _, err := os.Lstat(path); err == nil {
		stamp := path + damagedInfix + time.Now().UTC().Format("20060102T150405")
		old := stamp
		for n := 2; ; n++ {
			if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
				break
			} else if err != nil {
				return err
			}
			old = fmt.Sprintf("%s-%d", stamp, n)
		}
		if err := os.Rename(path, old); err != nil {
			return err
		}
		b.done.Old = old
	}
	if err := errors.Join(os.Rename(made, path), durable.OS().SyncDir(b.root)); err != nil {
		return err
	}
	return writeHeader(b.root, head)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
