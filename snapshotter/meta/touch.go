package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// damage is the panic of a transaction that finds a damaged page. It is a panic
// because the accessors of a Tx return no error for that, and each of them can
// find one.
type damage struct{ err error }

// catchDamage runs fn and returns the error of a damaged page.
func catchDamage(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			d, ok := p.(damage)
			if !ok {
				panic(p)
			}
			err = d.err
		}
	}()
	return fn()
}

// touch compares the pages of a bucket that hold the keys of a range with their
// checksums, so that the library can read them. It returns the last key of the
// last page. It returns nil for a bucket without pages of its own, and when all
// pages were looked at already.
func (tx *Tx) touch(b *bbolt.Bucket, r keyRange) (last []byte) {
	if tx.db == nil || b == nil {
		return nil
	}
	g := tx.db.guard
	lazy, err := g.lazy()
	if err != nil {
		panic(damage{err})
	}
	root := uint64(b.Root())
	if !lazy || root == 0 { // a small bucket is stored in a page that was touched
		return nil
	}
	r.writing = tx.bolt.Writable()
	last, err = g.visit(root, r)
	if err == nil {
		return last
	}
	if err := tx.db.rescan(err); err != nil {
		panic(damage{err})
	}
	return nil
}

// rescan looks at every page and row, because a page does not match its
// checksum. The checksum may be the wrong one, when its file was not completely
// written. rescan returns the damage that it finds.
func (db *DB) rescan(because error) error {
	g := db.guard
	g.scanning.Lock()
	defer g.scanning.Unlock()
	if lazy, err := g.lazy(); !lazy || err != nil {
		return err
	}
	// Use a new transaction: inside one that writes, rows and the data beside them
	// may disagree for a moment.
	err := db.bolt.View(func(b *bbolt.Tx) error {
		m := metaPage{
			pageSize: uint32(g.size), freelist: noFreelist, //nolint:gosec // it was a uint32
			root:  uint64(b.Cursor().Bucket().Root()),
			pages: uint64(b.Size() / g.size), //nolint:gosec // not negative
		}
		if now, err := g.now(); err == nil && now.root == m.root {
			m = now
		}
		if err := g.scan(m); err != nil {
			return err
		}
		return (&Tx{bolt: b}).checkAll()
	})
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: %w", because, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.damage = fmt.Errorf("%s: %w", g.path, err)
	return g.damage
}

// checkAll reads every row and record.
func (tx *Tx) checkAll() error {
	var rows []Snapshot
	err := tx.WalkSnapshots(func(row Snapshot) error {
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return err
	}
	if err := tx.checkRows(rows); err != nil {
		return err
	}
	return tx.bolt.Bucket(bucketRecords).ForEachBucket(func(kind []byte) error {
		return tx.WalkRecords(string(kind), func(string, json.RawMessage) error { return nil })
	})
}

// bucket returns one of the buckets of the schema.
func (tx *Tx) bucket(name []byte) *bbolt.Bucket {
	tx.touch(tx.bolt.Cursor().Bucket(), keyRange{from: name, to: name})
	return tx.bolt.Bucket(name)
}

// at touches the pages of a key and returns the bucket.
func (tx *Tx) at(b *bbolt.Bucket, key []byte) *bbolt.Bucket {
	tx.touch(b, keyRange{from: key, to: key})
	return b
}

// each calls fn for the rows of a bucket from the key from on. It stops when fn
// returns false for more, or an error, which each returns.
func (tx *Tx) each(b *bbolt.Bucket, from []byte, fn func(k, v []byte) (more bool, err error)) error {
	touched := tx.touch(b, keyRange{from: from, to: from, last: true})
	c := b.Cursor()
	for k, v := c.Seek(from); k != nil; k, v = c.Next() {
		if touched != nil && bytes.Compare(k, touched) > 0 {
			touched = tx.touch(b, keyRange{from: k, to: k, last: true})
		}
		more, err := fn(k, v)
		if err != nil || !more {
			return err
		}
	}
	return nil
}
