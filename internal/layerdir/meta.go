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
	// RecordName is the file in a layer's directory that makes it one.
	RecordName  = "layer.json"
	metaVersion = 1
	mergingName = "merging"
	// maxRecord bounds a record, in bytes: 500 parents and all labels take a
	// fraction of it.
	maxRecord = 16 << 20
	// tornName is a file in a layer's directory: the disk has lost something that
	// may have been in the layer.
	tornName = "torn"
)

// Meta is what a backend records of a layer.
type Meta struct {
	// Version is the format of this record; a newer one is refused.
	Version int `json:"version"`
	// Parents, nearest first.
	Parents []driver.ID `json:"parents,omitempty"`
	// View: the layer only shows its parents.
	View bool `json:"view,omitempty"`
	// Sealed: nothing in the layer changes any more.
	Sealed bool `json:"sealed,omitempty"`
	// Usage is set when the layer is sealed.
	Usage *driver.Usage `json:"usage,omitempty"`
	// Size is how many bytes the layer may take beside its parents; 0: no limit.
	Size int64 `json:"size,omitempty"`
	// Metacopy: this layer or one of its parents may hold files whose body is
	// further down (overlay's metacopy).
	Metacopy bool `json:"metacopy,omitempty"`
	// Escaped: this layer or one of its parents has attributes of overlay's own
	// namespace, kept escaped. What was written through a mount counts once the
	// layer is sealed.
	Escaped bool `json:"escaped,omitempty"`
	// Detached: unpacked without its parents, which are still to be given.
	Detached bool `json:"detached,omitempty"`
	// Merging: giving it its parents was begun. When it is found set, that ended
	// in the middle and the layer is unusable.
	Merging bool `json:"merging,omitempty"`
	// IDMap maps the owners of files in the layer's mounts.
	IDMap *mount.IDMap `json:"idmap,omitempty"`
	// Note is what the driver's caller keeps here.
	Note json.RawMessage `json:"note,omitempty"`
	// Sum is a checksum of all before it, the last field; empty in records of
	// earlier versions.
	Sum string `json:"sum,omitempty"`
}

// UsageOr returns the usage that the record has kept since the layer was
// sealed. If it has none, UsageOr calls measure. A view has the usage 0.
func (m Meta) UsageOr(measure func() (driver.Usage, error)) (driver.Usage, error) {
	switch {
	case m.View:
		return driver.Usage{}, nil
	case m.Usage != nil:
		return *m.Usage, nil
	}
	return measure()
}

// Load reads a layer's record. Returns [driver.ErrNotFound] without one.
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

// Writable is Load for a layer that is going to be changed. Returns
// [driver.ErrSealed] for a sealed layer and a view, [driver.ErrTorn] for one in
// which Merging was interrupted.
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

// Recorded returns when the layer's record was written last. The layers whose
// record is that of Create are at least as old.
func (s *Store) Recorded(id driver.ID) (time.Time, error) {
	info, err := os.Stat(s.Path(id, RecordName))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// Save replaces a layer's record, durably: afterwards, also after a power cut,
// either the old or the new one is there.
func (s *Store) Save(id driver.ID, m Meta) error {
	if err := s.own(id); err != nil {
		return err
	}
	return m.write(s.Path(id))
}

// syncRecord puts a record on disk that is in place. An earlier call may have
// put it there and then failed to sync the directory: the next one must not say
// that it is safe only because it is there.
func (s *Store) syncRecord(id driver.ID) error { return durable.OS().SyncDir(s.Path(id)) }

// Become renames a layer's record to a path on the same file system, which
// takes no room on a full disk. Nothing but removing the layer can be done with
// it then.
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

// sumField is the field that is added to a record for its checksum.
func sumField(record []byte) string {
	return fmt.Sprintf(`,"sum":"%08x"`, crc32.Checksum(record, crc32.MakeTable(crc32.Castagnoli)))
}

// isIntact reports whether a record is as it was written, as far as it can
// tell. A flipped bit may leave another record, of other parents say.
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
