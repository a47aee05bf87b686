// Package overlay2 keeps each layer as the upper directory of an overlay mount.
//
// A layer's directory holds only what that layer changed, so layers share what
// they have in common, page cache included, and a layer's diff reads its upper
// directory only. Nothing here mounts anything: [diff.View] pictures of the
// merged tree are made in user space, with the same rules as the kernel's
// lookup.
//
// NoWriters sees every overlay of a layer, because the kernel does. Where a
// file system cannot have overlay's index, it sees those of processes that this
// one may look at.
//
//	d, err := overlay2.New(ctx, "/var/lib/layerkeep/overlay2", driver.Options{})
package overlay2

// Name is the driver's name.
const Name = "overlay2"
