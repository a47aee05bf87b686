// Package aufs keeps each layer as a branch directory in the classic layout of
// aufs (layers/, diff/, mnt/), as old engines did, and reads what they left.
//
// A branch holds only what its layer changed: names that begin with ".wh." say
// what it hides of the branches below. Everything but mounting a writable layer
// works without aufs in the kernel: trees are pictured in user space, and a
// read-only mount shows a translation that other file systems can show.
//
// The module has ways of its own, which docs/aufs.md lists. What a view shows
// of a sealed layer is what the module shows. A layer that is not sealed is
// shown as it is meant, and is rewritten so that the module agrees when it is
// mounted or sealed.
//
// Layers that another engine left are sealed layers to everybody; the driver is
// a [driver.Adopter]. Nothing of them changes but by Remove. The engine must
// not run meanwhile.
//
// NoWriters sees every aufs unless the module was loaded with brs=1; then it
// does not see one that is not mounted any more but has open files.
//
//	d, err := aufs.New(ctx, "/var/lib/layerkeep/aufs", driver.Options{})
package aufs

// Name is the driver's name.
const Name = "aufs"

// maxParents keeps a layer and its parents within the 127 branches of one
// mount.
const maxParents = 126

// maxName is the longest name whose whiteout still is a name: ".wh." and, for
// the names that the kernel module makes for a moment, a dot and eight digits.
const maxName = 242
