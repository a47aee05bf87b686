package meta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// damage is the panic of a transaction that comes upon a damaged page. The
// accessors of a Tx have no errors for that: every one of them may.
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

// touch sees to it that the pages of a bucket that hold keys of a range can be
// touched, and returns the last key of the last of them, nil for a bucket that
// has none or was looked at before.
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
	if !lazy || root == 0 { // a small bucket stands in a page that was touched
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

// rescan looks at every page and row after all, because of a page that is not
// that of its checksum. It may be the checksum that is wrong: of a file that
// was not written to its end. What it returns is the damage that was found.
func (db *DB) rescan(because error) error {
	g := db.guard
	g.scanning.Lock()
	defer g.scanning.Unlock()
	if lazy, err := g.lazy(); !lazy || err != nil {
		return err
	}
	// Of its own: in a transaction that writes, rows and what is beside them may be
	// apart.
	err := db.bolt.View(func(b *bbolt.Tx) error {
		m := metaPage{
			pageSize: uint32(g.size), freelist: noFreelist, //nolint:gosec // it was one
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

// at returns a bucket whose row of a key can be read and written.
func (tx *Tx) at(b *bbolt.Bucket, key []byte) *bbolt.Bucket {
	tx.touch(b, keyRange{from: key, to: key})
	return b
}

// each calls fn for the rows of a bucket from a key on, until it returns an
// error, which each returns, or not more.
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
