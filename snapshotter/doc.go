// Package snapshotter manages snapshots over a storage driver: their names,
// parents, states and labels. It guarantees that a committed snapshot is whole
// or absent, also after a crash. The glossary of package driver explains the
// terms.
//
// The package implements containerd's core/snapshots.Snapshotter and Cleaner
// over any [driver.Driver]. It adds what snapctl and package image need: it
// applies, compares and reads snapshots without mounting them. It unpacks no
// images, and it mounts nothing.
//
//	s, err := snapshotter.Open(ctx, "/var/lib/layerkeep", snapshotter.Options{})
//	_, err = s.Prepare(ctx, "unpack-1", "")
//	applied, err := s.Apply(ctx, "unpack-1", layer, driver.ApplyOptions{})
//	err = s.Commit(ctx, applied.DiffID.String(), "unpack-1")
//	mounts, err := s.MountValues(ctx, applied.DiffID.String(), driver.MountOptions{})
//
// # States
//
// A snapshot is a row in the database and a layer of the driver. One state
// machine serves every backend. No work on the disk happens inside a
// transaction of the database, and nothing walks a tree while it holds a lock
// on the database.
//
//	Prepare, View: row pending ──► driver.Create ──► row active
//	Commit:        [row rebasing ──► driver.Rebase ──►] driver.Seal, Usage ──► row committed
//	Remove:        row removing ──► driver.Remove ──► row gone ──► driver.Cleanup, later
//
// The last transaction of each line makes the change valid. A call that fails
// or is cancelled before it restores the earlier state. After a crash [Open]
// does the same.
//
// # Labels
//
// [LabelSize] limits what an active snapshot takes on disk, if the driver can
// do that. [LabelForeign] marks snapshots of foreign layers, which [Open] finds
// when the driver is a [driver.Adopter].
//
// # One process
//
// One process at a time has a store open for writing, see [ErrLocked].
package snapshotter
