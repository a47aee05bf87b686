package storewire

import (
	"github.com/opencontainers/go-digest"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
)

// FromChange makes a message of a change: its kind and its path.
func FromChange(c diff.Change) *storev1.Change {
	m := &storev1.Change{Path: []byte(c.Path)}
	switch c.Kind {
	case diff.Add:
		m.Kind = storev1.Change_KIND_ADDED
	case diff.Modify:
		m.Kind = storev1.Change_KIND_MODIFIED
	case diff.Delete:
		m.Kind = storev1.Change_KIND_DELETED
	}
	return m
}

// ToChange is the inverse of [FromChange].
func ToChange(m *storev1.Change) diff.Change {
	c := diff.Change{Path: string(m.GetPath())}
	switch m.GetKind() {
	case storev1.Change_KIND_ADDED:
		c.Kind = diff.Add
	case storev1.Change_KIND_MODIFIED:
		c.Kind = diff.Modify
	case storev1.Change_KIND_DELETED:
		c.Kind = diff.Delete
	case storev1.Change_KIND_UNSPECIFIED:
	}
	return c
}

// FromStats makes a message of what a diff wrote.
func FromStats(s diff.Stats) *storev1.DiffStats {
	return &storev1.DiffStats{Added: s.Added, Modified: s.Modified, Deleted: s.Deleted, Bytes: s.Bytes}
}

// ToStats is the inverse of [FromStats].
func ToStats(s *storev1.DiffStats) diff.Stats {
	return diff.Stats{Added: s.GetAdded(), Modified: s.GetModified(), Deleted: s.GetDeleted(), Bytes: s.GetBytes()}
}

// FromApplied makes a message of what an apply read.
func FromApplied(a driver.Applied) *storev1.Applied {
	return &storev1.Applied{DiffId: a.DiffID.String(), Bytes: a.Bytes, Entries: a.Entries}
}

// ToApplied is the inverse of [FromApplied].
func ToApplied(a *storev1.Applied) driver.Applied {
	return driver.Applied{DiffID: digest.Digest(a.GetDiffId()), Bytes: a.GetBytes(), Entries: a.GetEntries()}
}
