// Package snapshotter gives layers their life cycle: names, parents, states,
// labels, and the promise that a committed snapshot is whole or absent.
//
// It implements containerd's core/snapshots.Snapshotter and Cleaner on any
// [driver.Driver], and adds what snapctl and package image need beyond that:
// applying, diffing and reading snapshots without mounting them. It unpacks no
// images and mounts nothing.
//
// # States
//
// One state machine serves every backend. No disk work happens inside a
// metadata transaction, and nothing is walked while a lock on the store's
// metadata is held.
//
//	Prepare, View: row pending ──► driver.Create ──► row active
//	Commit:        [row rebasing ──► driver.Rebase ──►] driver.Seal, Usage ──► row committed
//	Remove:        row removing ──► driver.Remove ──► row gone ──► driver.Cleanup, later
//
// The last transaction of each line is the moment at which it counts. A call
// that fails or is cancelled before it puts things back as they were; after a
// crash [Open] does the same.
//
// # Labels
//
// [LabelSize] limits what an active snapshot takes on disk, where the driver can.
// [LabelForeign] is on snapshots of layers that another engine left, which Open
// finds where the driver is a [driver.Adopter].
//
// # One process
//
// A store is open in one process at a time, see [ErrLocked].
//
//	s, err := snapshotter.Open(ctx, "/var/lib/layerkeep", snapshotter.Options{})
//	_, err = s.Prepare(ctx, "unpack-1", "")
//	applied, err := s.Apply(ctx, "unpack-1", layer, driver.ApplyOptions{})
//	err = s.Commit(ctx, applied.DiffID.String(), "unpack-1")
//	mounts, err := s.MountValues(ctx, "container-1", driver.MountOptions{})
package snapshotter
