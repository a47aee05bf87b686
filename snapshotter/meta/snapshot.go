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

// The kinds of snapshot. A committed snapshot was an active one.
const (
	Active    Kind = "active"
	View      Kind = "view"
	Committed Kind = "committed"
)

// A State is where a snapshot stands in its life. Only a Ready one exists for
// the users of a store.
type State string

// The states. What is not Ready when a store is opened was interrupted.
const (
	// Pending: its layer is being made.
	Pending State = "pending"
	// Ready: its layer is there.
	Ready State = "ready"
	// Removing: its layer is being removed.
	Removing State = "removing"
	// Aside: it was removed, and its name is free, but its layer is still in use.
	// The row has a name that nobody asks for. Nothing stands on it but others like
	// it.
	Aside State = "aside"
)

// Usage is what a snapshot takes on disk, its parents not counted.
type Usage struct {
	Bytes  int64 `json:"bytes"`
	Inodes int64 `json:"inodes"`
}

// A Snapshot is the row of one snapshot.
type Snapshot struct {
	// Name is the key of an active snapshot or view, or the name of a
	// committed one. Names are unique over all kinds.
	Name string `json:"-"`
	// ID is unique in the store, now and later. Set by CreateSnapshot.
	ID uint64 `json:"id"`
	// Layer is the driver's ID of its layer. Set by CreateSnapshot where it is
	// empty.
	Layer string `json:"layer"`
	// Store is the ID of the store that the layer is in, empty for this one. Origin
	// is the name that the snapshot has there.
	Store  string `json:"store,omitempty"`
	Origin string `json:"origin,omitempty"`
	// Foreign: another engine made the layer.
	Foreign bool `json:"foreign,omitempty"`
	// Parent is the name of the parent, empty for none.
	Parent string `json:"parent,omitempty"`
	// Rebase is the name of the snapshot that an unfinished commit was giving to
	// this parentless one as its parent. It counts as a child of it meanwhile.
	Rebase string `json:"rebase,omitempty"`
	// Source says where the layer in it came from, in words of whoever applied it,
	// and is empty once it is committed.
	Source string `json:"source,omitempty"`
	// Spare is the driver's ID of a layer that belongs to this row beside Layer:
	// one that is being made to take its place, or whose place it took. It is to be
	// removed.
	Spare string `json:"spare,omitempty"`
	// Deferred: the layer of Source needs its parents, so nothing of it is there
	// until the commit that names them.
	Deferred bool `json:"deferred,omitempty"`

	Kind    Kind              `json:"kind"`
	State   State             `json:"state"`
	Labels  map[string]string `json:"labels,omitempty"`
	Created time.Time         `json:"created"`
	Updated time.Time         `json:"updated"`
	// Usage is set when the snapshot is committed.
	Usage Usage `json:"usage,omitzero"`
	// Digest is that of the snapshot's changes as a layer tar when it was
	// committed; empty when nobody read them then.
	Digest string `json:"digest,omitempty"`
}

// above returns the name of the snapshot that this one keeps from being
// removed.
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

// WalkSnapshots calls fn for every row, in the bytewise order of names, until
// fn returns an error, which it returns. fn must not change snapshots.
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

// CreateSnapshot adds a row and returns it with its ID and Layer. A Layer that
// is given is never given to another row afterwards. Returns ErrExists when the
// name is taken, ErrNotFound when the parent is missing and ErrInvalidName for
// a name that cannot be one.
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

// ahead returns the number of a layer that has the name of one of ours to come.
func (tx *Tx) ahead(layer string) (n uint64, ahead bool) {
	n, err := strconv.ParseUint(layer, 10, 48)
	return n, err == nil && n > tx.snapshots().Sequence()
}

// CheckRows returns ErrDamaged where what is kept beside the rows, and has no
// checksum, does not agree with them: a row is not found by its name or among
// the children of its parent, or IDs would be given a second time. rows are all
// there are.
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
	tx.touch(tx.bucket(bucketChildren), keyRange{toEnd: true}) // Stats reads all of it
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

// NewLayer returns the ID of a layer that no row has or will have by itself.
func (tx *Tx) NewLayer() (string, error) {
	id, err := tx.snapshots().NextSequence()
	return fmt.Sprint(id), err
}

// ReserveLayer keeps a layer that has the name of one of ours to come from
// being met. Numbers that no store gets to are left alone.
func (tx *Tx) ReserveLayer(layer string) error {
	if n, ahead := tx.ahead(layer); ahead {
		return tx.snapshots().SetSequence(n)
	}
	return nil
}

// UpdateSnapshot replaces the row of the same name, or returns ErrNotFound. ID
// must be that of the row.
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
// the same ID; the rows that have it as their parent follow. Returns
// ErrNotFound when old is missing, ErrExists when the new name is taken and
// ErrInvalidName when it cannot be one.
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

// follow gives the children of s, which was called old, its new name.
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

// DeleteSnapshot removes the row called name. Returns ErrNotFound, or
// ErrHasChildren while other rows have it as their parent.
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

// Children returns the names of the rows that have s as their parent, in
// whatever state, oldest first.
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

// Chain returns the rows of name and all its parents, nearest first; nothing
// for the empty name.
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

// child returns the index of children, for the entry of one.
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

// isLayer reports whether the ID of a layer can be one. It becomes part of a
// path, and whoever made the database may have had something else in mind.
func isLayer(id string) bool {
	return len(id) <= maxLayer && id[0] != '.' && !strings.ContainsAny(id, "/\x00")
}

const maxLayer = 255

// checkName keeps out what the database or JSON would refuse or change.
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
