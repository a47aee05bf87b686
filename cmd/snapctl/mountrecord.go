package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/mount"
)

// Our records are notes in the store's metadata: one for each mount that
// 'snapctl mount' made, by the escaped path of its target.

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

	// note is the name of the note that holds the record.
	note string
	// unreadable: it is not one that snapctl made. Nothing but note is known then.
	unreadable bool
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

func (st *store) putMountRecord(ctx context.Context, r mountRecord) error {
	r.RawTarget = []byte(r.Target)
	raw, err := json.Marshal(r)
	if err == nil {
		err = st.PutMountRecord(ctx, layerkeep.MountRecord{Name: escape(r.Target), JSON: raw})
	}
	return doing(err, "recording the mount at %q", r.Target)
}

func (st *store) deleteMountRecord(ctx context.Context, target string) error {
	return doing(st.DeleteMountRecord(ctx, escape(target)), "removing the record of the mount at %q", target)
}

// mountRecords lists the records, stale ones included.
func (st *store) mountRecords(ctx context.Context) ([]mountRecord, error) {
	notes, err := st.MountRecords(ctx)
	if err != nil {
		return nil, doing(err, "reading the records of mounts")
	}
	var records []mountRecord
	for _, n := range notes {
		var r mountRecord
		if err := json.Unmarshal(n.JSON, &r); err != nil || len(r.RawTarget) == 0 {
			// Nobody can find its mount, and it must not keep others from being found.
			r = mountRecord{RawTarget: []byte(n.Name), unreadable: true}
		}
		r.Target, r.note = string(r.RawTarget), n.Name
		records = append(records, r)
	}
	return records, nil
}

// mounts lists the recorded mounts that exist, here or elsewhere.
func (st *store) mounts(ctx context.Context) ([]mountRecord, error) {
	records, err := st.mountRecords(ctx)
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

// dropGoneMountsAlone is dropGoneMounts while no other command mounts anything.
func (st *store) dropGoneMountsAlone(ctx context.Context) ([]string, error) {
	h, err := st.reserve(ctx, reservedMounts)
	if err != nil {
		return nil, err
	}
	defer h.Release()
	return st.dropGoneMounts(ctx)
}

// dropGoneMounts forgets the mounts that are gone, with the views made for
// them, and returns their targets. In a store that is read-only their records
// stay.
func (st *store) dropGoneMounts(ctx context.Context) ([]string, error) {
	if st.isReadOnly() {
		return nil, nil
	}
	records, err := st.mountRecords(ctx)
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

// forgetMount drops the view that was made for a mount, then its record: in
// this order, so that the record is there until nothing else is left.
// Idempotent.
func (st *store) forgetMount(ctx context.Context, r mountRecord) error {
	if r.View {
		if err := st.Remove(ctx, r.Key, false); err != nil && !errdefs.IsNotFound(err) {
			return doing(err, "dropping the view %q of the mount at %q", r.Key, r.Target)
		}
	}
	return doing(st.DeleteMountRecord(ctx, r.note), "removing the record of the mount at %q", r.Target)
}

// mountsOf lists the mounts of a snapshot that exist.
func (st *store) mountsOf(ctx context.Context, key string) ([]mountRecord, error) {
	all, err := st.mounts(ctx)
	var found []mountRecord
	for _, r := range all {
		if r.Key == key {
			found = append(found, r)
		}
	}
	return found, err
}

// refuseMounted returns an error when the snapshot is mounted.
func (st *store) refuseMounted(ctx context.Context, key string) error {
	records, err := st.mountsOf(ctx, key)
	if err != nil || len(records) == 0 {
		return err
	}
	target := records[0].Target
	return advise(
		fmt.Errorf("%w: the snapshot %q is mounted at %q", errState, key, target),
		"'snapctl umount "+mount.Quote(target)+"' first",
	)
}
