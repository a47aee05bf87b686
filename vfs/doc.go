// Package vfs stores each layer as a whole copy of its parent's tree.
//
// It works on every file system. A copy is cheap if the file system can share
// blocks between files (reflink). Every other backend is compared with it.
//
// NoWriters does not see mounts of processes that this process may not inspect,
// unless a file is open through them.
//
//	d, err := vfs.New(ctx, "/var/lib/layerkeep/vfs", driver.Options{})
package vfs

// Name is the driver's name.
const Name = "vfs"
