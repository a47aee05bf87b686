// Package copytree copies a directory tree with everything that a layer can
// contain: owners, modes, times, extended attributes, hard links, devices,
// holes. It shares blocks with the original if the file system can do that.
//
// Its memory grows with the depth of the tree. It needs a fixed number of
// descriptors for any tree.
//
// It is not for trees that change during the copy, and it does not know
// whiteouts.
//
//	err := copytree.Copy(ctx, src, dst, copytree.Options{Reflink: true, CopyRange: true})
package copytree

// Options say which fast ways Copy may try, and which function it calls.
type Options struct {
	// Reflink shares blocks with the original.
	Reflink bool
	// CopyRange copies within the kernel.
	CopyRange bool
	// NoFchmodat2 avoids that system call, as on a kernel before 6.6.
	NoFchmodat2 bool
	// Stubs says that the original is on btrfs. A directory with the inode number 2
	// is then a stub: the kernel shows it in place of a subvolume that a snapshot
	// does not include. Its mtime is the time at which it is read. The copy gets
	// mtime 0.
	Stubs bool
	// Made is called for every directory in the copy, "." first, with its path and
	// its inode number. It must not keep path. May be nil.
	Made func(path []byte, ino uint64)
}
