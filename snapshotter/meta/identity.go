package meta

import (
	"encoding/binary"
	"fmt"
)

var (
	keyStore      = []byte("id")
	keyGeneration = []byte("generation")
)

// Store returns the ID of the store that has this database. It is empty when
// none was set.
func (tx *Tx) Store() string {
	return string(tx.at(tx.bucket(bucketStore), keyStore).Get(keyStore))
}

// SetStore sets the ID of the store.
func (tx *Tx) SetStore(id string) error {
	return tx.at(tx.bucket(bucketStore), keyStore).Put(keyStore, []byte(id))
}

// Generation returns a number that grows with every writing transaction. A copy
// of the database has the generation from when it was made. So data with a
// higher generation is newer than the copy.
func (tx *Tx) Generation() (uint64, error) {
	n := uint64(tx.bolt.ID()) //nolint:gosec // never negative
	raw := tx.at(tx.bucket(bucketStore), keyGeneration).Get(keyGeneration)
	switch len(raw) {
	case 0:
		return n, nil
	case 8:
		return binary.BigEndian.Uint64(raw) + n, nil
	}
	return 0, fmt.Errorf("%w: its generation is unreadable", ErrDamaged)
}

// RaiseGeneration makes the generation of this transaction at least n. So a
// database that is made again continues from the generation of the lost one.
func (tx *Tx) RaiseGeneration(n uint64) error {
	now, err := tx.Generation()
	if err != nil || now >= n {
		return err
	}
	base := n - uint64(tx.bolt.ID()) //nolint:gosec // never negative
	return tx.at(tx.bucket(bucketStore), keyGeneration).Put(keyGeneration, binary.BigEndian.AppendUint64(nil, base))
}
