// Package overlay2 stores each layer as the upper directory of an overlay
// mount.
//
// A layer's directory holds only what the layer changed. So layers share common
// files, including their page cache, and a layer's diff reads only its upper
// directory. The package mounts nothing to read a tree: it makes a [diff.View]
// of the merged tree in user space, with the same rules as the kernel's lookup.
//
// NoWriters sees every overlay of a layer, because the kernel reports it. If
// the file system cannot have overlay's index, NoWriters sees only overlays of
// processes that this process may inspect.
//
//	d, err := overlay2.New(ctx, "/var/lib/layerkeep/overlay2", driver.Options{})
package overlay2

// Name is the driver's name.
const Name = "overlay2"
