package layerdir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/mount"
)

const (
	// RecordName is the file in a layer's directory that makes the directory a
	// layer.
	RecordName  = "layer.json"
	metaVersion = 1
	mergingName = "merging"
	// maxRecord limits the size of a record, in bytes. A record with 500 parents
	// and all labels is much smaller.
	maxRecord = 16 << 20
	// tornName is a file in a layer's directory. It says that the disk lost a write
	// that may have been part of the layer.
	tornName = "torn"
)

// Meta is the record of a layer.
type Meta struct {
	// Version is the format of this record. A newer format is refused.
	Version int `json:"version"`
	// Parents are the layer's parents, nearest first.
	Parents []driver.ID `json:"parents,omitempty"`
	// View says that the layer is a view: it only shows its parents.
	View bool `json:"view,omitempty"`
	// Sealed says that the layer is immutable.
	Sealed bool `json:"sealed,omitempty"`
	// Usage is set when the layer is sealed.
	Usage *driver.Usage `json:"usage,omitempty"`
	// Size is the size limit of the layer itself, without its parents, in bytes. 0
	// means no limit.
	Size int64 `json:"size,omitempty"`
	// Metacopy says that this layer or one of its parents may have files whose
	// content is in a lower layer (overlay's metacopy).
	Metacopy bool `json:"metacopy,omitempty"`
	// Escaped says that this layer or one of its parents has escaped attributes.
	// Attributes that were written through a mount are included only once the layer
	// is sealed.
	Escaped bool `json:"escaped,omitempty"`
	// Detached says that the layer was unpacked without its parents and is not
	// rebased yet.
	Detached bool `json:"detached,omitempty"`
	// Merging says that a rebase has begun. If a later process finds it set, the
	// rebase was interrupted and the layer is unusable.
	Merging bool `json:"merging,omitempty"`
	// IDMap maps the owners of files in mounts of the layer.
	IDMap *mount.IDMap `json:"idmap,omitempty"`
	// Note is JSON of the driver's caller.
	Note json.RawMessage `json:"note,omitempty"`
	// Sum is a checksum of everything before it in the record. It is the last
	// field, and empty in records of earlier versions.
	Sum string `json:"sum,omitempty"`
}

// UsageOr returns the usage in the record, which is there once the layer is
// sealed. Without a recorded usage it calls measure. A view has the usage 0.
func (m Meta) UsageOr(measure func() (driver.Usage, error)) (driver.Usage, error) {
	switch {
	case m.View:
		return driver.Usage{}, nil
	case m.Usage != nil:
		return *m.Usage, nil
	}
	return measure()
}

// Load reads a layer's record. It returns [driver.ErrNotFound] if there is no
// record.
func (s *Store) Load(id driver.ID) (Meta, error) {
	if err := id.Validate(); err != nil {
		return Meta{}, err
	}
	if _, _, lent := s.lent(id); lent {
		return s.loadLent(id)
	}
	var m Meta
	if err := s.Plain(id); err != nil {
		return m, err
	}
	b, err := ownfiles.Read(s.Path(id, RecordName), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%s: %w", id, driver.ErrNotFound)
	}
	if err != nil {
		return m, fmt.Errorf("layer %s: %w", id, err)
	}
	if m, err = decodeMeta(id, b); err != nil {
		return m, err
	}
	return m, s.plainParents(m.Parents)
}

// Writable is Load for a layer that the caller is going to change. It returns
// [driver.ErrSealed] for a sealed layer and for a view, and [driver.ErrTorn]
// for a torn layer.
func (s *Store) Writable(id driver.ID) (Meta, error) {
	if err := s.own(id); err != nil {
		return Meta{}, err
	}
	m, err := s.Load(id)
	switch {
	case err != nil:
		return m, err
	case m.Sealed:
		return m, fmt.Errorf("%s: %w", id, driver.ErrSealed)
	case m.View:
		return m, fmt.Errorf("%s: %w: it is a view", id, driver.ErrSealed)
	}
	return m, s.notTorn(id)
}

// Recorded returns the time at which the layer's record was last written. A
// layer whose record was not rewritten since Create is at least that old.
func (s *Store) Recorded(id driver.ID) (time.Time, error) {
	info, err := os.Stat(s.Path(id, RecordName))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Save replaces a layer's record durably. After a power cut, the layer has
// either the old or the new record.
func (s *Store) Save(id driver.ID, m Meta) error {
	if err := s.own(id); err != nil {
		return err
	}
	return m.write(s.Path(id))
}

// syncRecord syncs the directory of a record that is already in place. An
// earlier call may have renamed the record into place and then failed to sync
// the directory. The record is therefore not known to be durable just because
// it exists.
func (s *Store) syncRecord(id driver.ID) error { return durable.OS().SyncDir(s.Path(id)) }

// Become renames a layer's record to a path on the same file system. This takes
// no space on a full disk. Afterwards the layer can only be removed.
func (s *Store) Become(id driver.ID, path string) error {
	if err := s.own(id); err != nil {
		return err
	}
	return os.Rename(s.Path(id, RecordName), path)
}

func (m Meta) write(dir string) error {
	m.Version, m.Sum = metaVersion, ""
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b = append(b[:len(b)-1], sumField(b)+"}\n"...)
	return durable.WriteFile(durable.OS(), filepath.Join(dir, RecordName), b, 0o600)
}

// sumField returns the JSON field that holds the checksum of a record.
func sumField(record []byte) string {
	return fmt.Sprintf(`,"sum":"%08x"`, crc32.Checksum(record, crc32.MakeTable(crc32.Castagnoli)))
}

// isIntact reports whether a record has the right checksum, or none. Without a
// checksum, a flipped bit could turn a record into another valid one, for
// example with other parents.
func (m Meta) isIntact(raw []byte) bool {
	if m.Sum == "" {
		return true
	}
	raw = bytes.TrimRight(raw, "\n")
	end := len(raw) - len(sumField(nil)) - 1
	if end < 0 {
		return false
	}
	record := append(bytes.Clone(raw[:end]), '}')
	return string(raw[end:]) == sumField(record)+"}"
}
