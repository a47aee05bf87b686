// Package driver is the contract between the code that manages snapshots and
// the backends that store layers on disk.
//
// A backend is a package with one way to store layers: overlay2 stores upper
// directories, btrfs stores subvolumes, vfs stores whole copies of the tree,
// aufs stores branches. A [Driver] is a backend that is open on one directory,
// its store directory. Package snapshotter calls the driver. It gives snapshots
// their names, states and labels, which a driver does not know.
//
// The package is not for engines and commands: they use package layerkeep.
//
// # Example
//
// This makes a layer from a tar, makes a second layer over it, and asks how to
// mount the second one:
//
//	d, err := overlay2.New(ctx, "/var/lib/layerkeep/overlay2", driver.Options{})
//	err = d.Create(ctx, "1", nil, driver.CreateOptions{})
//	_, err = d.ApplyDiff(ctx, "1", layerTar, driver.ApplyOptions{})
//	err = d.Seal(ctx, "1")
//	err = d.Create(ctx, "2", []driver.ID{"1"}, driver.CreateOptions{})
//	mounts, err := d.Mount(ctx, "2", driver.MountOptions{})
//	err = mount.All(ctx, mounts, "/mnt")
//
// A third layer over both names all of its parents, the nearest first:
//
//	err = d.Seal(ctx, "2")
//	err = d.Create(ctx, "3", []driver.ID{"2", "1"}, driver.CreateOptions{})
//
// # Life cycle
//
//	Create ──► writable ──ApplyDiff / writes through Mount──► Seal ──► sealed ──► Remove
//
//	                             writable        sealed          view
//	Mount                        writable        read-only       read-only
//	ApplyDiff                    yes             ErrSealed       ErrSealed
//	Sides                        yes             yes             two nil views
//	View, Usage                  yes             yes             yes
//	Seal                         yes             does nothing    ErrUnsupported
//	may be a parent              ErrNotSealed    yes             ErrNotSealed
//	Remove                       yes             yes             yes
//
// The last column is a layer that was created with CreateOptions.View. A
// writable layer can also become torn: ApplyDiff and Seal then return
// [ErrTorn], and Remove removes it.
//
// # Glossary
//
// Each word has one meaning in this module.
//
// Layers and trees:
//
//   - layer: what a driver stores under one [ID]: the changes of this layer
//     against its parents, in the encoding of the backend. A vfs layer is a
//     whole tree and is still called a layer.
//   - parents: the layers below a layer, as the complete list, nearest first.
//     The list includes the parents of the parents.
//   - merged tree: what a container sees of a layer: the parents with the
//     changes of the layer over them. Overlayfs calls it "merged".
//   - view: a read-only layer with no changes of its own. It shows the merged
//     tree of its parents. See CreateOptions.View. The type [diff.View] is
//     another thing: it reads a tree. The method View of a driver opens the
//     merged tree of any layer as a diff.View.
//   - writable: a layer that is neither sealed nor a view.
//   - sealed: a layer that is immutable and durable. Only a sealed layer may be
//     a parent.
//   - torn: a writable layer whose content is unknown, because a merge was
//     interrupted or the disk lost a write. It can only be removed.
//   - snapshot: a name, a state and labels, over one layer. Package snapshotter
//     has snapshots; drivers do not know them.
//
// What is stored beside a layer:
//
//   - record: what the driver itself stores of a layer: its parents, whether it
//     is a view, whether it is sealed. See [Record].
//   - note: JSON of the caller in the record. The driver stores it and never
//     reads it. See [Recorder].
//   - hints: what a driver knows about where a layer can differ from its
//     parents. Hints only save time: without them a comparison reads both
//     trees. See [diff.Hinter] and [HintKeeper].
//   - durable: on the disk, so that it survives a power cut.
//
// Applying a layer tar:
//
//   - layer tar: an uncompressed or compressed tar stream in the format of the
//     OCI image layer specification. Its digest, uncompressed, is the diffID.
//   - whiteout: the mark of a removed file. In a layer tar it is an empty file
//     ".wh.NAME"; overlay stores it as a character device 0:0 or as an
//     attribute.
//   - opaque: said of a directory that hides what its parents have at the same
//     path. In a layer tar the mark is an empty file ".wh..wh..opq" in it;
//     overlay stores it as the attribute "trusted.overlay.opaque".
//   - staging: the empty directory beside a layer into which a layer tar is
//     unpacked.
//   - delta: a layer tar that is completely unpacked in staging, with its
//     whiteouts and opaque marks in memory. See [tar.Delta].
//   - merge: to move a delta into a layer. If a merge fails, it is undone. If
//     it is interrupted, or cannot be undone, the layer is torn.
//   - escaped attribute: an attribute of a layer whose name overlay would take
//     for its own, stored under a longer name: "trusted.overlay.overlay.opaque"
//     on disk is "trusted.overlay.opaque" in the mount.
//   - detached: said of a layer whose tar was unpacked before its parents were
//     known, until it is rebased or sealed. See ApplyOptions.Detached.
//   - rebase: to give a detached layer its parents. See [Rebaser].
//   - settle: to repair a layer that another program filled directly in the
//     upper directory instead of through a mount. See [Settler].
//
// Mounts:
//
//   - mount value: a [mount.Mount]. It says how to mount something. The caller
//     mounts it; a driver never leaves a mount behind.
//   - copy-up: what overlay and aufs do at the first write to a file of a
//     parent: they copy it into the layer.
//   - volatile mount: a mount that ignores sync calls. See
//     MountOptions.Volatile.
//   - mapped IDs: owners of files that a mount shows translated. See
//     CreateOptions.IDMap.
//
// Store directories:
//
//   - place: the directory in which a driver has one name for each layer. See
//     [Placer].
//   - trash: layers that were removed and whose files still exist. Cleanup
//     deletes them.
//   - probe: to try, when a driver is opened, what the kernel and the file
//     system can do. See [Rememberer].
//   - replace: to put a new layer in the position of a damaged one, under the
//     same ID. See [Replacer].
//   - lend, borrow: a store that is only read lends its sealed layers; a driver
//     borrows them, and its own layers may have them as parents. See
//     [Borrower].
//   - foreign layer: a layer in the store directory that another engine made.
//     See [Adopter].
//
// # Rules for every method
//
// A driver is safe for concurrent use on different layers. The caller orders
// the calls on one layer. The caller also makes sure that one process at a time
// opens a store directory for writing.
//
// A method that takes an ID returns [ErrInvalidID] for a malformed ID and
// [ErrNotFound] for a layer that does not exist, unless its comment says
// something else. Match errors with [errors.Is]: a backend wraps them with the
// action and the layer, for example
//
//	overlay2: seal layer 17: layer is busy: it is mounted
//
// A cancelled context ends a call with the error of the context. Such a call
// leaves the layer as it was, as any other error does, unless the comment of
// the method says something else.
//
// Sizes are bytes, paths are slash-separated and relative to the root of the
// merged tree, as in [diff.Change].
//
// A layer tar is hostile input. So are the files of a writable layer, since
// containers write them: a driver opens one path component at a time, and never
// follows a symbolic link of a layer out of it.
//
// # How to write a backend
//
// Implement [Driver]. Then implement each optional interface that the backend
// can support, and say so in [Properties]; the comment of an interface says
// what callers do without it: [Rebaser], [Settler], [WriterFinder],
// [Explainer], [Trimmer], [Adopter], [Placer], [Rememberer], [Recorder],
// [Rerecorder], [HintKeeper], [Replacer], [Borrower]. A caller asks for an
// interface with a type assertion, and never for the name of a driver.
//
// Package tar does most of ApplyDiff: [tar.Unpack] fills staging, and
// [tar.Delta.Merge] merges the delta and undoes its steps on an error. Package
// diff has the interface that View and Sides return, and [diff.DirView] for a
// directory that is the whole tree.
//
// Make a layer appear and disappear with one rename, so that a crash leaves a
// whole layer or none: fill a directory under a temporary name, sync it, rename
// it. Remove renames the layer to a trash name. Cleanup deletes trash, and
// temporary names that no running call uses.
//
// Then run the conformance suite, package drivertest. It tests this contract,
// and its package comment has the test file that a backend needs. Add the
// constructor to package all (driver/all), which is the list of backends.
package driver
