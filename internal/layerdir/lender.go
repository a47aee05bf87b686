package layerdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

const (
	// maxLentRecord bounds what is read of a record in another store, in bytes.
	maxLentRecord = 4 << 20
	// maxLentParents is what any backend stacks.
	maxLentParents = MaxParents
)

// A lender is another store of the same driver, whose layers ours may stand on.
// What is in it is believed no more than a layer tar.
type lender struct {
	dir string
	// tree is the directory of a layer that has its files.
	tree string
}

// Borrow makes the layers in dir known, where another store of the same driver
// has its own: its sealed layer N is PREFIX.N here, see [driver.Borrower]. tree
// is the directory of a layer that has its files. It is called before the store
// is used.
func (s *Store) Borrow(prefix, dir, tree string) error {
	id := driver.ID(prefix)
	if err := id.Validate(); err != nil || strings.Contains(prefix, ".") {
		return errors.Join(fmt.Errorf("%w: prefix %q", driver.ErrInvalidID, prefix), err)
	}
	if err := isDirectory(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // it has no layers yet
		return err
	}
	if s.lenders == nil {
		s.lenders = map[string]lender{}
	}
	s.lenders[prefix] = lender{dir, tree}
	return nil
}

// lent returns the store that a layer is borrowed from, and its ID there.
func (s *Store) lent(id driver.ID) (from lender, there driver.ID, ok bool) {
	prefix, name, cut := strings.Cut(string(id), ".")
	if !cut {
		return lender{}, "", false
	}
	from, ok = s.lenders[prefix]
	there = driver.ID(name)
	return from, there, ok && there.Validate() == nil
}

// own is Changeable for a layer: one of another store is never changed.
func (s *Store) own(id driver.ID) error {
	if err := s.Changeable(); err != nil {
		return err
	}
	if _, _, ok := s.lent(id); ok {
		return fmt.Errorf("layer %s is of another store: %w", id, driver.ErrReadOnly)
	}
	return nil
}

// Lent reports whether a layer is one of another store.
func (s *Store) Lent(id driver.ID) bool {
	_, _, ok := s.lent(id)
	return ok
}

// CheckLent returns an error for layers of other stores that are not there, or
// that are no directories there: whoever made such a store could have a link
// lead anywhere. Layers of this store it does not look at.
func (s *Store) CheckLent(ids ...driver.ID) error {
	if len(s.lenders) == 0 {
		return nil
	}
	for _, id := range ids {
		from, there, ok := s.lent(id)
		if !ok {
			continue
		}
		dir := filepath.Join(from.dir, string(there))
		for _, path := range []string{from.dir, dir, filepath.Join(dir, from.tree)} {
			err := isDirectory(path)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s: %w: there is no %s", id, driver.ErrNotFound, path)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
		}
	}
	return nil
}

// isDirectory returns an error for a symbolic link too.
func isDirectory(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}
	}
	return nil
}

// loadLent is Load for a layer of another store: sealed, and with the parents'
// IDs as they are here. What would matter for a writable layer alone is left
// out.
func (s *Store) loadLent(id driver.ID) (m Meta, err error) {
	if err := s.CheckLent(id); err != nil {
		return m, err
	}
	raw, err := readLent(s.Path(id, RecordName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, fmt.Errorf("%s: %w", id, driver.ErrNotFound)
	}
	if err != nil {
		return m, err
	}
	said, err := decodeMeta(id, raw)
	if err != nil {
		return m, err
	}
	if !said.Sealed || said.View {
		return m, fmt.Errorf("%s: %w", id, driver.ErrNotSealed)
	}
	if len(said.Parents) > maxLentParents {
		return m, fmt.Errorf("layer %s: %s: %d parents, at most %d", id, RecordName, len(said.Parents), maxLentParents)
	}
	m = Meta{Version: said.Version, Sealed: true, Metacopy: said.Metacopy, Escaped: said.Escaped, Note: said.Note}
	if u := said.Usage; u != nil && u.Bytes >= 0 && u.Inodes >= 0 {
		m.Usage = u
	}
	prefix, _, _ := strings.Cut(string(id), ".")
	for _, p := range said.Parents {
		parent := driver.ID(prefix + "." + string(p))
		if _, _, ok := s.lent(parent); !ok || strings.Contains(string(p), ".") || parent.Validate() != nil {
			return Meta{}, fmt.Errorf("layer %s: %w: its parent %q is no layer of that store", id, driver.ErrUnsupported, string(p))
		}
		m.Parents = append(m.Parents, parent)
	}
	return m, nil
}

// readLent reads a small file of another store, and nothing but a file.
func readLent(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxLentRecord {
		return nil, &fs.PathError{Op: "read", Path: path, Err: unix.EFBIG}
	}
	return io.ReadAll(io.LimitReader(f, maxLentRecord))
}

// decodeMeta decodes a record.
func decodeMeta(id driver.ID, raw []byte) (m Meta, err error) {
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("layer %s: %s: %w", id, RecordName, err)
	}
	if m.Version != metaVersion {
		return m, fmt.Errorf("layer %s: %w: record of version %d, this program knows %d", id, driver.ErrUnsupported, m.Version, metaVersion)
	}
	for _, p := range m.Parents { // they become parts of paths
		if err := p.Validate(); err != nil {
			return Meta{}, fmt.Errorf("layer %s: %s: parent %w", id, RecordName, err)
		}
	}
	if !m.isIntact(raw) {
		return Meta{}, fmt.Errorf("layer %s: %s: it is damaged: its checksum is wrong", id, RecordName)
	}
	m.Sum = ""
	return m, nil
}
