package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// mountKind is the kind of our records in the store's metadata: one for each
// mount that 'snapctl mount' made, by the escaped path of its target.
const mountKind = "mounts"

// A mountRecord says what 'snapctl mount' mounted where.
type mountRecord struct {
	// Target is the absolute path without symbolic links.
	Target string `json:"-"`
	// RawTarget is Target; JSON strings cannot hold every path.
	RawTarget []byte `json:"target"`
	// Name is what the user asked for, Key the snapshot that is mounted.
	Name string `json:"name"`
	Key  string `json:"key"`
	// View says that the mount made Key, a view, and that umount drops it.
	View     bool       `json:"view"`
	ReadOnly bool       `json:"readOnly"`
	Created  time.Time  `json:"created"`
	Where    mountPlace `json:"where"`
}

// A mountPlace says which mount it is, so that a record that outlived it, by a
// reboot or by somebody's umount(8), is recognised.
type mountPlace struct {
	// Boot is the kernel's boot ID, Namespace that of the mount namespace.
	Boot      string `json:"boot"`
	Namespace string `json:"namespace"`
	// ID is the mount's ID in /proc/self/mountinfo; 0 before it is mounted.
	ID int `json:"id"`
}

// A mountState is what has become of a recorded mount.
type mountState int

const (
	// mountLive: it is there.
	mountLive mountState = iota + 1
	// mountGone: it is not, and only the record is left.
	mountGone
	// mountElsewhere: it is in another mount namespace that still exists.
	mountElsewhere
)

func (st *store) putMountRecord(r mountRecord) error {
	r.RawTarget = []byte(r.Target)
	return doing(st.db.Update(func(tx *meta.Tx) error {
		return tx.PutRecord(mountKind, escape(r.Target), r)
	}), "recording the mount at %q", r.Target)
}

func (st *store) deleteMountRecord(target string) error {
	return doing(st.db.Update(func(tx *meta.Tx) error {
		err := tx.DeleteRecord(mountKind, escape(target))
		if errors.Is(err, meta.ErrNotFound) {
			return nil
		}
		return err
	}), "removing the record of the mount at %q", target)
}

// mountRecords lists the records, stale ones included.
func (st *store) mountRecords() ([]mountRecord, error) {
	var records []mountRecord
	err := st.db.View(func(tx *meta.Tx) error {
		return tx.WalkRecords(mountKind, func(name string, raw json.RawMessage) error {
			var r mountRecord
			if err := json.Unmarshal(raw, &r); err != nil {
				return fmt.Errorf("the record of the mount at %s is unreadable: %w", name, err)
			}
			r.Target = string(r.RawTarget)
			records = append(records, r)
			return nil
		})
	})
	return records, doing(err, "reading the records of mounts")
}

// mounts lists the recorded mounts that exist, here or elsewhere.
func (st *store) mounts() ([]mountRecord, error) {
	records, err := st.mountRecords()
	if err != nil {
		return nil, err
	}
	var there []mountRecord
	for _, r := range records {
		state, err := r.state()
		if err != nil {
			return nil, err
		}
		if state != mountGone {
			there = append(there, r)
		}
	}
	return there, nil
}

// dropGoneMounts forgets the mounts that are gone, with the views made for
// them, and returns their targets.
func (st *store) dropGoneMounts(ctx context.Context) ([]string, error) {
	records, err := st.mountRecords()
	if err != nil {
		return nil, err
	}
	var targets []string
	for _, r := range records {
		state, err := r.state()
		if err != nil {
			return targets, err
		}
		if state != mountGone {
			continue
		}
		if err := st.forgetMount(ctx, r); err != nil {
			return targets, err
		}
		targets = append(targets, r.Target)
	}
	return targets, nil
}

// forgetMount drops the view that was made for a mount, then its record: in this
// order, so that the record is there until nothing else is left. Idempotent.
func (st *store) forgetMount(ctx context.Context, r mountRecord) error {
	if r.View {
		if err := st.Remove(ctx, r.Key); err != nil && !errdefs.IsNotFound(err) {
			return doing(err, "dropping the view %q of the mount at %q", r.Key, r.Target)
		}
	}
	return st.deleteMountRecord(r.Target)
}

// mountsOf lists the mounts of a snapshot that exist.
func (st *store) mountsOf(key string) ([]mountRecord, error) {
	all, err := st.mounts()
	var found []mountRecord
	for _, r := range all {
		if r.Key == key {
			found = append(found, r)
		}
	}
	return found, err
}

// refuseMounted returns an error when the snapshot is mounted.
func (st *store) refuseMounted(key string) error {
	records, err := st.mountsOf(key)
	if err != nil || len(records) == 0 {
		return err
	}
	target := records[0].Target
	return advise(
		fmt.Errorf("%w: the snapshot %q is mounted at %q", errState, key, target),
		"'snapctl umount "+mount.Quote(target)+"' first",
	)
}
