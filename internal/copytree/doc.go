// Package copytree copies a directory tree with everything that a layer can say
// of it: owners, modes, times, extended attributes, hard links, devices, holes.
// Blocks are shared with the original where the file system can do that.
//
// The memory for it grows with the depth of the tree, and a fixed number of
// descriptors is enough for any.
//
// It is not for trees that somebody is writing to, and it knows no whiteouts.
//
//	err := copytree.Copy(ctx, src, dst, copytree.Options{Reflink: true, CopyRange: true})
package copytree

// Options say which fast ways may be tried, and who is told.
type Options struct {
	// Reflink shares blocks with the original.
	Reflink bool
	// CopyRange copies within the kernel.
	CopyRange bool
	// NoFchmodat2 keeps away from that system call, as on a kernel before 6.6.
	NoFchmodat2 bool
	// Stubs says that the original is in a btrfs: a directory with the inode
	// number 2 is what the kernel shows in the place of a subvolume that a snapshot
	// did not take along. It has the time at which it is looked at; the copy has 0.
	Stubs bool
	// Made is told of every directory in the copy, "." first: its path, which is
	// only lent, and inode number. May be nil.
	Made func(path []byte, ino uint64)
}
