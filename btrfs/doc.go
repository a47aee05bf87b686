// Package btrfs keeps each layer as a subvolume, a snapshot of its parent's.
//
// A snapshot takes as long as a commit of the file system, whatever the parent
// holds, and shares all blocks with it. Which inodes are newer than the
// snapshot is in the file system's own trees, so a diff costs what changed.
// Everything is done by ioctl(2), which needs CAP_SYS_ADMIN in the initial user
// namespace.
//
// In a layer's directory the subvolume is "vol", and in it "fs" is the tree of
// the view. Beside that, in the same subvolume since rename(2) does not leave
// one, is what is being unpacked. A layer that was created with View has no
// subvolume.
//
// What a container puts into subvolumes of its own making counts for no limit,
// and becomes plain directories when the layer is sealed: a snapshot would not
// show it.
//
// A sealed layer is a read-only subvolume. A file that is open for writing when
// it becomes one can still be written to, and NoWriters does not see it when
// its mount is gone, because looking at each file would take longer than the
// commit.
//
//	d, err := btrfs.New(ctx, "/var/lib/layerkeep/btrfs", driver.Options{})
package btrfs

// Name is the driver's name.
const Name = "btrfs"
