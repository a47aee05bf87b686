// Package vfs keeps each layer as a whole copy of its parent.
//
// It works on every file system, and where that one can share blocks between
// files (reflink) a copy is cheap. It is the reference every other backend is
// compared with.
//
// NoWriters does not see mounts of processes that this one may not look at,
// unless a file is open through them.
//
//	d, err := vfs.New(ctx, "/var/lib/layerkeep/vfs", driver.Options{})
package vfs

// Name is the driver's name.
const Name = "vfs"
