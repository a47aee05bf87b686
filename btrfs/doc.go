// Package btrfs stores each layer as a subvolume, which is a snapshot of its
// parent's subvolume.
//
// Making a snapshot takes as long as a commit of the file system, however large
// the parent is. The snapshot shares all blocks with the parent. The file
// system's own trees tell which inodes are newer than the snapshot, so the cost
// of a diff depends only on what changed. The driver works with ioctl(2) calls,
// which need CAP_SYS_ADMIN in the initial user namespace.
//
// The subvolume is "vol" in the layer's directory. In the subvolume, "fs" is
// the layer's merged tree. A layer tar is unpacked beside "fs" in the same
// subvolume, because rename(2) cannot leave a subvolume. A layer that was
// created with View has no subvolume.
//
// A container may make subvolumes of its own. Files in them do not count
// against the size limit. Sealing replaces such a subvolume by a plain
// directory, because a snapshot would not include it.
//
// A sealed layer is a read-only subvolume. A file that was open for writing
// before can still be written to. NoWriters does not see such a file if its
// mount is gone, because checking every file would take longer than the commit.
//
//	d, err := btrfs.New(ctx, "/var/lib/layerkeep/btrfs", driver.Options{})
package btrfs

// Name is the driver's name.
const Name = "btrfs"
