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
	// maxLentRecord limits the size of a record read from another store, in bytes.
	maxLentRecord = 4 << 20
	// maxLentParents is the largest number of parents that any backend allows.
	maxLentParents = MaxParents
)

// A lender is another store of the same driver. Layers of this store may have
// its layers as parents. Its content is hostile input, as a layer tar is.
type lender struct {
	dir string
	// tree is the name of the directory in a layer that has the layer's files.
	tree string
}

// Borrow makes the sealed layers of another store of the same driver available.
// Its directory is dir. Its layer N is called PREFIX.N in this store; see
// [driver.Borrower]. tree is the name of the directory in a layer that has the
// layer's files. Call Borrow before the store is used.
func (s *Store) Borrow(prefix, dir, tree string) error {
	id := driver.ID(prefix)
	if err := id.Validate(); err != nil || strings.Contains(prefix, ".") {
		return errors.Join(fmt.Errorf("%w: prefix %q", driver.ErrInvalidID, prefix), err)
	}
	if err := isDirectory(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // a lender that is missing has no layers yet
		return err
	}
	if s.lenders == nil {
		s.lenders = map[string]lender{}
	}
	s.lenders[prefix] = lender{dir, tree}
	return nil
}

// lent returns the store that lends a layer, and the layer's ID in that store.
func (s *Store) lent(id driver.ID) (from lender, there driver.ID, ok bool) {
	prefix, name, cut := strings.Cut(string(id), ".")
	if !cut {
		return lender{}, "", false
	}
	from, ok = s.lenders[prefix]
	there = driver.ID(name)
	return from, there, ok && there.Validate() == nil
}

// own returns an error if a layer may not be changed: the store is read-only,
// or the layer is borrowed.
func (s *Store) own(id driver.ID) error {
	if err := s.Changeable(); err != nil {
		return err
	}
	if _, _, ok := s.lent(id); ok {
		return fmt.Errorf("layer %s is of another store: %w", id, driver.ErrReadOnly)
	}
	return nil
}

// Lent reports whether a layer is borrowed from another store.
func (s *Store) Lent(id driver.ID) bool {
	_, _, ok := s.lent(id)
	return ok
}

// CheckLent returns an error for borrowed layers that are missing or are not
// directories in their store. The maker of that store could have put symbolic
// links there that lead anywhere. CheckLent ignores layers of this store.
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

// isDirectory returns an error if path is not a directory. It does not follow a
// symbolic link.
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

// loadLent is Load for a borrowed layer, which must be sealed. It returns the
// parents under the IDs that they have in this store, and omits fields that
// only matter for writable layers.
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

// readLent reads a small file of another store. It refuses anything that is not
// a regular file.
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

// decodeMeta decodes and checks a record.
func decodeMeta(id driver.ID, raw []byte) (m Meta, err error) {
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("layer %s: %s: %w", id, RecordName, err)
	}
	if m.Version != metaVersion {
		return m, fmt.Errorf("layer %s: %w: record of version %d, this program knows %d", id, driver.ErrUnsupported, m.Version, metaVersion)
	}
	for _, p := range m.Parents { // the IDs become parts of paths
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
