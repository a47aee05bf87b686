package meta

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"
)

// PutRecord stores v as JSON under kind and name, and replaces an earlier
// record. A kind belongs to one package, and only that package knows what v is.
// Returns ErrInvalidName for a kind or name that is empty, too long or not
// UTF-8.
func (tx *Tx) PutRecord(kind, name string, v any) error {
	for _, part := range []string{kind, name} {
		if err := checkName(part); err != nil {
			return fmt.Errorf("record of kind %q: %w", kind, err)
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %s %q: %w", kind, name, err)
	}
	records, err := tx.at(tx.bucket(bucketRecords), []byte(kind)).CreateBucketIfNotExists([]byte(kind))
	if err != nil {
		return fmt.Errorf("record %s %q: %w", kind, name, err)
	}
	return tx.at(records, []byte(name)).Put([]byte(name), addSum(recordKey(kind, name), raw))
}

// GetRecord decodes the record into v, or returns ErrNotFound.
func (tx *Tx) GetRecord(kind, name string, v any) error {
	raw := tx.record(kind, name)
	if raw == nil {
		return fmt.Errorf("record %s %q: %w", kind, name, ErrNotFound)
	}
	raw, err := takeSum(recordKey(kind, name), raw)
	if err != nil {
		return fmt.Errorf("record %s %q: %w", kind, name, err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("record %s %q: %w: %w", kind, name, ErrDamaged, err)
	}
	return nil
}

// DeleteRecord removes the record, or returns ErrNotFound.
func (tx *Tx) DeleteRecord(kind, name string) error {
	if tx.record(kind, name) == nil {
		return fmt.Errorf("record %s %q: %w", kind, name, ErrNotFound)
	}
	return tx.records(kind).Delete([]byte(name))
}

// HasRecords reports whether there is any record of the kind.
func (tx *Tx) HasRecords(kind string) bool {
	if kind == "" {
		return false
	}
	records := tx.records(kind)
	if records == nil {
		return false
	}
	found := false
	_ = tx.each(records, nil, func([]byte, []byte) (bool, error) {
		found = true
		return false, nil
	})
	return found
}

// WalkRecords calls fn for every record of the kind, in the bytewise order of
// names. When fn returns an error, WalkRecords stops and returns it. raw is
// JSON and valid only during the call. fn must not change records of this kind.
func (tx *Tx) WalkRecords(kind string, fn func(name string, raw json.RawMessage) error) error {
	if kind == "" {
		return nil
	}
	records := tx.records(kind)
	if records == nil {
		return nil
	}
	return tx.each(records, nil, func(name, raw []byte) (bool, error) {
		raw, err := takeSum(recordKey(kind, string(name)), raw)
		if err != nil {
			return false, fmt.Errorf("record %s %q: %w", kind, name, err)
		}
		return true, fn(string(name), raw)
	})
}

// records returns the bucket of a kind, or nil.
func (tx *Tx) records(kind string) *bbolt.Bucket {
	return tx.at(tx.bucket(bucketRecords), []byte(kind)).Bucket([]byte(kind))
}

func (tx *Tx) record(kind, name string) []byte {
	if kind == "" || name == "" {
		return nil
	}
	records := tx.records(kind)
	if records == nil {
		return nil
	}
	return tx.at(records, []byte(name)).Get([]byte(name))
}

// recordKey is the key of a record for its checksum.
func recordKey(kind, name string) string { return kind + "\x00" + name }
