package meta

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"
)

// A Kind is the kind of a snapshot.
type Kind string

// The kinds of snapshot. A committed snapshot was active before.
const (
	Active    Kind = "active"
	View      Kind = "view"
	Committed Kind = "committed"
)

// A State says whether the layer of a snapshot exists. Users of a store see
// only snapshots in the state Ready.
type State string

// The states. A row that is Pending or Removing when a store is opened belongs
// to a call that was interrupted.
const (
	// Pending: its layer is being made.
	Pending State = "pending"
	// Ready: its layer exists.
	Ready State = "ready"
	// Removing: its layer is being removed.
	Removing State = "removing"
	// Aside: the snapshot was removed and its name is free, but its layer is still
	// in use. The row has a reserved name. All its children are Aside too.
	Aside State = "aside"
)

// Usage is the disk usage of a snapshot, without its parents.
type Usage struct {
	Bytes  int64 `json:"bytes"`
	Inodes int64 `json:"inodes"`
}

// A Snapshot is the row of one snapshot.
type Snapshot struct {
	// Name is the key of an active snapshot or view, or the name of a
	// committed one. Names are unique over all kinds.
	Name string `json:"-"`
	// ID is unique: no other row of the store has or gets it. CreateSnapshot sets
	// it.
	ID uint64 `json:"id"`
	// Layer is the driver's ID of its layer. When it is empty, CreateSnapshot sets
	// it.
	Layer string `json:"layer"`
	// Store is the ID of the store that has the layer, empty for this store. Origin
	// is the name of the snapshot in that store.
	Store  string `json:"store,omitempty"`
	Origin string `json:"origin,omitempty"`
	// Foreign: another engine made the layer.
	Foreign bool `json:"foreign,omitempty"`
	// Parent is the name of the parent, empty when there is none.
	Parent string `json:"parent,omitempty"`
	// Rebase is set while a commit gives a parent to a snapshot that has none. It
	// is the name of that parent. The snapshot already counts as its child.
	Rebase string `json:"rebase,omitempty"`
	// Source says where the layer in the snapshot came from, in the words of the
	// caller that applied it. It is empty for a committed snapshot.
	Source string `json:"source,omitempty"`
	// Spare is the driver's ID of a second layer of this row: a layer that is being
	// made to replace Layer, or one that was replaced. It is to be removed.
	Spare string `json:"spare,omitempty"`
	// Deferred: the layer of Source needs its parents. So the snapshot contains
	// nothing of it until the commit that names the parents.
	Deferred bool `json:"deferred,omitempty"`

	Kind    Kind              `json:"kind"`
	State   State             `json:"state"`
	Labels  map[string]string `json:"labels,omitempty"`
	Created time.Time         `json:"created"`
	Updated time.Time         `json:"updated"`
	// Usage is set when the snapshot is committed.
	Usage Usage `json:"usage,omitzero"`
	// Digest is the digest of the snapshot's changes as a layer tar at the commit.
	// It is empty when the commit did not read them.
	Digest string `json:"digest,omitempty"`
}

// above returns the name of the snapshot that cannot be removed because of this
// one.
func (s Snapshot) above() string {
	if s.Parent != "" {
		return s.Parent
	}
	return s.Rebase
}

// Snapshot returns the row called name, or ErrNotFound.
func (tx *Tx) Snapshot(name string) (Snapshot, error) {
	if name == "" {
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", name, ErrNotFound)
	}
	raw := tx.at(tx.snapshots(), []byte(name)).Get([]byte(name))
	if raw == nil {
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", name, ErrNotFound)
	}
	return decode(name, raw)
}

// WalkSnapshots calls fn for every row, in the bytewise order of names. When fn
// returns an error, WalkSnapshots stops and returns it. fn must not change
// snapshots.
func (tx *Tx) WalkSnapshots(fn func(Snapshot) error) error {
	return tx.WalkSnapshotsFrom("", fn)
}

// WalkSnapshotsFrom is WalkSnapshots for the rows whose names begin with
// prefix.
func (tx *Tx) WalkSnapshotsFrom(prefix string, fn func(Snapshot) error) error {
	return tx.WalkSnapshotsAfter(prefix, "", fn)
}

// WalkSnapshotsAfter is WalkSnapshotsFrom for the rows that come after a name.
func (tx *Tx) WalkSnapshotsAfter(prefix, after string, fn func(Snapshot) error) error {
	return tx.each(tx.snapshots(), []byte(max(prefix, after)), func(name, raw []byte) (bool, error) {
		if !strings.HasPrefix(string(name), prefix) {
			return false, nil
		}
		if after != "" && string(name) == after {
			return true, nil
		}
		s, err := decode(string(name), raw)
		if err != nil {
			return false, err
		}
		return true, fn(s)
	})
}

// CreateSnapshot adds a row and returns it with its ID and Layer. When s.Layer
// is set, no other row gets that layer later. Returns ErrExists when the name
// is taken, ErrNotFound when the parent is missing and ErrInvalidName for a
// name that is not valid.
func (tx *Tx) CreateSnapshot(s Snapshot) (Snapshot, error) {
	if err := checkName(s.Name); err != nil {
		return Snapshot{}, err
	}
	rows := tx.at(tx.snapshots(), []byte(s.Name))
	if rows.Get([]byte(s.Name)) != nil {
		return Snapshot{}, fmt.Errorf("snapshot %q: %w", s.Name, ErrExists)
	}
	if err := tx.ReserveLayer(s.Layer); err != nil {
		return Snapshot{}, err
	}
	id, err := rows.NextSequence()
	if err != nil {
		return Snapshot{}, err
	}
	s.ID = id
	if s.Layer == "" {
		s.Layer = fmt.Sprint(id)
	}
	tx.count(s, 1)
	return s, tx.put(s)
}

// Reserved reports whether ReserveLayer would change nothing.
func (tx *Tx) Reserved(layer string) bool {
	_, ahead := tx.ahead(layer)
	return !ahead
}

// ahead reports whether the layer has a number as its ID that a new row could
// still get, and returns the number.
func (tx *Tx) ahead(layer string) (n uint64, ahead bool) {
	n, err := strconv.ParseUint(layer, 10, 48)
	return n, err == nil && n > tx.snapshots().Sequence()
}

// CheckRows returns ErrDamaged when the data beside the rows, which has no
// checksum, does not agree with the rows: a row is not found by its name or
// among the children of its parent, the numbers of borrowed rows differ, or an
// ID would be given a second time. rows must be all rows.
func (tx *Tx) CheckRows(rows []Snapshot) error {
	if err := tx.checkRows(rows); err != nil {
		return err
	}
	unfinished, borrowed := int64(0), int64(0)
	for _, row := range rows {
		if row.Store != "" {
			borrowed++
		}
		if row.isUnfinished() {
			unfinished++
		}
	}
	if err := tx.checkBorrowed(borrowed); err != nil {
		return err
	}
	tx.db.unfinished.Store(unfinished)
	return nil
}

func (tx *Tx) checkRows(rows []Snapshot) error {
	children := 0
	tx.touch(tx.bucket(bucketChildren), keyRange{toEnd: true}) // Stats reads the whole bucket
	for _, row := range rows {
		if tx.at(tx.snapshots(), []byte(row.Name)).Get([]byte(row.Name)) == nil {
			return fmt.Errorf("snapshot %q: %w: it is not found by its name", row.Name, ErrDamaged)
		}
		if row.ID > tx.snapshots().Sequence() {
			return fmt.Errorf("snapshot %q: %w: its number was not given yet", row.Name, ErrDamaged)
		}
		if row.above() == "" {
			continue
		}
		children++
		parent, err := tx.Snapshot(row.above())
		if errors.Is(err, ErrNotFound) {
			return fmt.Errorf("snapshot %q: %w: its parent %q is missing", row.Name, ErrDamaged, row.above())
		}
		if err != nil {
			return err
		}
		if string(tx.child(parent.ID, row.ID).Get(childKey(parent.ID, row.ID))) != row.Name {
			return fmt.Errorf("snapshot %q: %w: it is not among the children of %q", row.Name, ErrDamaged, parent.Name)
		}
	}
	if n := tx.bucket(bucketChildren).Stats().KeyN; n != children {
		return fmt.Errorf("%w: it has %d children for %d", ErrDamaged, n, children)
	}
	return nil
}

// NewLayer returns the ID of a layer that no row has. CreateSnapshot will not
// give it to another row.
func (tx *Tx) NewLayer() (string, error) {
	id, err := tx.snapshots().NextSequence()
	return fmt.Sprint(id), err
}

// ReserveLayer keeps CreateSnapshot and NewLayer from giving out the ID of this
// layer later. It does nothing for an ID that is not a number, and for a number
// of more than 48 bits, which no store reaches.
func (tx *Tx) ReserveLayer(layer string) error {
	if n, ahead := tx.ahead(layer); ahead {
		return tx.snapshots().SetSequence(n)
	}
	return nil
}

// UpdateSnapshot replaces the row of the same name, or returns ErrNotFound.
// s.ID must be the ID of that row.
func (tx *Tx) UpdateSnapshot(s Snapshot) error {
	old, err := tx.Snapshot(s.Name)
	if err != nil {
		return err
	}
	if err := tx.unlink(old); err != nil {
		return err
	}
	tx.count(old, -1)
	tx.count(s, 1)
	return tx.put(s)
}

// RenameSnapshot replaces the row called old by s, which has another name and
// the same ID. It also writes the new name into the children of the row.
// Returns ErrNotFound when old is missing, ErrExists when the new name is taken
// and ErrInvalidName when it is not valid.
func (tx *Tx) RenameSnapshot(old string, s Snapshot) error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	row, err := tx.Snapshot(old)
	if err != nil {
		return err
	}
	if tx.at(tx.snapshots(), []byte(s.Name)).Get([]byte(s.Name)) != nil {
		return fmt.Errorf("snapshot %q: %w", s.Name, ErrExists)
	}
	if err := tx.unlink(row); err != nil {
		return err
	}
	if err := tx.at(tx.snapshots(), []byte(old)).Delete([]byte(old)); err != nil {
		return err
	}
	tx.count(row, -1)
	tx.count(s, 1)
	if err := tx.put(s); err != nil {
		return err
	}
	return tx.follow(old, s)
}

// follow writes the new name of s, which was called old, into its children.
func (tx *Tx) follow(old string, s Snapshot) error {
	for _, name := range tx.Children(s) {
		child, err := tx.Snapshot(name)
		if err != nil {
			return err
		}
		if child.Parent == old {
			child.Parent = s.Name
		}
		if child.Rebase == old {
			child.Rebase = s.Name
		}
		if err := tx.put(child); err != nil {
			return err
		}
	}
	return nil
}

// DeleteSnapshot removes the row called name. Returns ErrNotFound when there is
// none, and ErrHasChildren while other rows have it as their parent.
func (tx *Tx) DeleteSnapshot(name string) error {
	s, err := tx.Snapshot(name)
	if err != nil {
		return err
	}
	if children := tx.Children(s); len(children) > 0 {
		return fmt.Errorf("snapshot %q %w, such as %q", name, ErrHasChildren, children[0])
	}
	if err := tx.unlink(s); err != nil {
		return err
	}
	tx.count(s, -1)
	return tx.at(tx.snapshots(), []byte(name)).Delete([]byte(name))
}

// Children returns the names of the rows that have s as their parent, in every
// state, oldest first.
func (tx *Tx) Children(s Snapshot) []string {
	var names []string
	_ = tx.each(tx.bucket(bucketChildren), childKey(s.ID, 0), func(k, name []byte) (bool, error) {
		mine := len(k) == 16 && binary.BigEndian.Uint64(k) == s.ID
		if mine {
			names = append(names, string(name))
		}
		return mine, nil
	})
	return names
}

// Chain returns the row called name and the rows of its parents, nearest first.
// It returns nil for the empty name.
func (tx *Tx) Chain(name string) ([]Snapshot, error) {
	var chain []Snapshot
	var circle Circle
	for name != "" {
		s, err := tx.Snapshot(name)
		if err != nil {
			return nil, err
		}
		if circle.Closed(s.Name) {
			return nil, fmt.Errorf("snapshot %q: %w: its parents form a circle", chain[0].Name, ErrDamaged)
		}
		chain = append(chain, s)
		name = s.Parent
	}
	return chain, nil
}

func (tx *Tx) snapshots() *bbolt.Bucket { return tx.bucket(bucketSnapshots) }

// child returns the bucket of children after touching the pages of one entry.
func (tx *Tx) child(parent, child uint64) *bbolt.Bucket {
	return tx.at(tx.bucket(bucketChildren), childKey(parent, child))
}

// put writes the row and its entry in the index of children.
func (tx *Tx) put(s Snapshot) error {
	s.Labels = maps.Clone(s.Labels)
	for k, v := range s.Labels {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("label %q of snapshot %q: %w", k, s.Name, ErrInvalidName)
		}
	}
	if above := s.above(); above != "" {
		parent, err := tx.Snapshot(above)
		if err != nil {
			return fmt.Errorf("parent of snapshot %q: %w", s.Name, err)
		}
		if err := tx.child(parent.ID, s.ID).Put(childKey(parent.ID, s.ID), []byte(s.Name)); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("snapshot %q: %w", s.Name, err)
	}
	return tx.at(tx.snapshots(), []byte(s.Name)).Put([]byte(s.Name), addSum(s.Name, raw))
}

// unlink removes the entry of s from the index of children.
func (tx *Tx) unlink(s Snapshot) error {
	above := s.above()
	if above == "" {
		return nil
	}
	parent, err := tx.Snapshot(above)
	if err != nil {
		return fmt.Errorf("parent of snapshot %q: %w", s.Name, err)
	}
	return tx.child(parent.ID, s.ID).Delete(childKey(parent.ID, s.ID))
}

func childKey(parent, child uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, parent), child)
}

func decode(name string, raw []byte) (Snapshot, error) {
	s := Snapshot{Name: name}
	raw, err := takeSum(name, raw)
	if err != nil {
		return Snapshot{}, fmt.Errorf("row of snapshot %q: %w", name, err)
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return Snapshot{}, fmt.Errorf("row of snapshot %q: %w: %w", name, ErrDamaged, err)
	}
	for _, layer := range []string{s.Layer, s.Spare} {
		if layer != "" && !isLayer(layer) {
			return Snapshot{}, fmt.Errorf("row of snapshot %q: %w: no layer can be called %q", name, ErrDamaged, layer)
		}
	}
	return s, nil
}

// isLayer reports whether a layer can have this ID. The ID becomes part of a
// path, and a hostile program may have made the database.
func isLayer(id string) bool {
	return len(id) <= maxLayer && id[0] != '.' && !strings.ContainsAny(id, "/\x00")
}

const maxLayer = 255

// checkName returns an error for a name that the database would refuse or that
// JSON would change.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidName)
	case len(name) > bbolt.MaxKeySize:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidName, len(name), bbolt.MaxKeySize)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: %q is not UTF-8", ErrInvalidName, name)
	}
	return nil
}
