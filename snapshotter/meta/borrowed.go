package meta

import (
	"encoding/binary"
	"fmt"
)

// keyBorrowed is the key of the number of rows whose layers are in other
// stores. It is missing when there are none.
var keyBorrowed = []byte("borrowed")

// Borrowed returns the number of rows that have a Store, without the changes of
// this transaction.
func (tx *Tx) Borrowed() (int64, error) {
	raw := tx.at(tx.bucket(bucketStore), keyBorrowed).Get(keyBorrowed)
	switch len(raw) {
	case 0:
		return 0, nil
	case 8:
		return int64(binary.BigEndian.Uint64(raw)), nil //nolint:gosec // written from an int64
	}
	return 0, fmt.Errorf("%w: its number of snapshots of other stores is unreadable", ErrDamaged)
}

// checkBorrowed returns ErrDamaged unless the database says that it has n rows
// with a Store.
func (tx *Tx) checkBorrowed(n int64) error {
	said, err := tx.Borrowed()
	if err != nil {
		return err
	}
	version := uint64(Version)
	if n > 0 {
		version = VersionBorrowed
	}
	raw := tx.at(tx.bucket(bucketStore), keyVersion).Get(keyVersion)
	if said != n || len(raw) != 8 || binary.BigEndian.Uint64(raw) != version {
		return fmt.Errorf("%w: it has %d snapshots of other stores, and says %d, in version %x", ErrDamaged, n, said, raw)
	}
	return nil
}

// countBorrowed writes the number of rows that have a Store when a transaction
// has changed it, and the version that belongs to this number.
func (tx *Tx) countBorrowed() error {
	if tx.borrowed == 0 {
		return nil
	}
	n, err := tx.Borrowed()
	if err != nil {
		return err
	}
	version := uint64(Version)
	if n += tx.borrowed; n > 0 {
		version = VersionBorrowed
	}
	store := tx.bucket(bucketStore)
	if err := tx.at(store, keyVersion).Put(keyVersion, binary.BigEndian.AppendUint64(nil, version)); err != nil {
		return err
	}
	if n <= 0 {
		return tx.at(store, keyBorrowed).Delete(keyBorrowed)
	}
	return tx.at(store, keyBorrowed).Put(keyBorrowed, binary.BigEndian.AppendUint64(nil, uint64(n))) //nolint:gosec // more than 0
}
