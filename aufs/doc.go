// Package aufs stores each layer as a branch directory in the classic layout of
// aufs (layers/, diff/, mnt/), as old engines did. It also reads layers that
// these engines left.
//
// A branch holds only what its layer changed. Names that start with ".wh." are
// whiteouts and other marks. Only mounting a writable layer needs aufs in the
// kernel. Trees are read in user space, and a read-only mount can show a
// translation that other file systems can mount.
//
// The aufs module has peculiarities, which docs/aufs.md lists. A view of a
// sealed layer shows the same as the module. A layer that is not sealed may
// differ: the view shows the intended content. Mounting or sealing the layer
// rewrites its branch so that the module shows that content, too.
//
// A layer that another engine left is a sealed layer; the driver implements
// [driver.Adopter] for it. The driver only reads or removes such a layer. The
// other engine must not run at the same time.
//
// NoWriters sees every aufs, with one exception: if the module was loaded with
// brs=1, it does not see an aufs that is unmounted but has open files.
//
//	d, err := aufs.New(ctx, "/var/lib/layerkeep/aufs", driver.Options{})
package aufs

// Name is the driver's name.
const Name = "aufs"

// maxParents is the largest number of parents. A layer and its parents have to
// fit into the 127 branches of one mount.
const maxParents = 126

// maxName is the longest allowed name, in bytes. The whiteout of the name needs
// ".wh." more, and temporary names of the aufs module need a dot and eight
// digits more.
const maxName = 242
