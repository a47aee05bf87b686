// Package layerkeep stores container image layers on disk and gives container
// engines a mounted root file system.
//
// Start with a [Store]. [Open] opens a store in a directory of this machine.
// Package client uses a store that a service has open, and has the same
// methods:
//
//	store, err := layerkeep.Open(ctx, "/var/lib/layerkeep", snapshotter.Options{})
//	img, err := store.Import(ctx, src, image.ImportOptions{})
//	err = store.Prepare(ctx, "work", img.Snapshot, nil)
//	mounts, err := store.Mounts(ctx, "work", driver.MountOptions{})
//	err = mount.All(ctx, mounts, "/mnt")
//
// These packages are behind it:
//
//   - driver: the contract of every storage backend, with a glossary of all
//     terms.
//   - overlay2, btrfs, vfs and aufs: the backends.
//   - snapshotter: names, parents and states of snapshots over a backend.
//   - image: images in and out of the store.
//
// The command cmd/snapctl puts all of it into one static binary.
// ARCHITECTURE.md is the map.
package layerkeep
