// Package vfs keeps each layer as a whole copy of its parent.
//
// It works on every file system, and where that one can share blocks between
// files (reflink) a copy is cheap. It is the reference every other backend is
// compared with.
//
//	d, err := vfs.New(ctx, "/var/lib/layerkeep/vfs", driver.Options{})
package vfs

// Name is the driver's name.
const Name = "vfs"
