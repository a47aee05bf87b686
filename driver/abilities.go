package driver

import (
	"context"
	"encoding/json"
)

// A Rebaser is a Driver that can give a layer its parents after the layer was
// unpacked. So a caller can unpack all layers of an image at the same time.
// Without this interface the parents are fixed at Create. Properties.Rebase
// says whether a driver has it.
//
//	err = d.Create(ctx, "2", nil, driver.CreateOptions{})
//	_, err = d.ApplyDiff(ctx, "2", layerTar, driver.ApplyOptions{Detached: true})
//	err = d.(driver.Rebaser).Rebase(ctx, "2", []driver.ID{"1"}) // "1" is sealed by now
type Rebaser interface {
	// Rebase gives a detached layer its parents. Parents is the complete list
	// of sealed layers, nearest first. The layer was created without parents
	// and filled by exactly one ApplyDiff with Detached. The result is the same
	// as if the layer had been created over the parents and the same stream
	// applied to it. Idempotent: nothing changes when the layer already has
	// exactly these parents.
	//
	// Rebase also takes a layer without parents that another program filled,
	// through its mount or directly (see [Settler]). Its files stay as they
	// are. Only directories that the other program made without a description
	// of their own, as far as the driver can tell, get the attributes that they
	// have in the parents.
	//
	// Rebase returns ErrSealed for a sealed layer, ErrNotFound for a missing
	// parent, and ErrNotSealed for a parent that is not sealed. It returns
	// ErrNeedsParents when it cannot give that result without reading the
	// stream again: remove the layer, create it over its parents, and apply the
	// stream there. After an interrupted Rebase, or a disk error in the middle
	// of it, the driver returns ErrNeedsParents for the layer from then on.
	// After any other error the layer is as it was.
	Rebase(ctx context.Context, id ID, parents []ID) error
}

// A Settler is a Driver whose writable layers another program may fill without
// the mount. For example, containerd's own applier writes directly to the upper
// directory of an overlay. Without this interface such layers need no repair.
type Settler interface {
	// Settle repairs a writable layer that was filled directly instead of
	// through its mount. Afterwards the layer is what it would be if its mount
	// had been used:
	//
	//   - An attribute of the layer that overlay would take for its own is
	//     escaped, so that containers see it as an attribute.
	//   - A whiteout that hides nothing, and would show as a file, is removed.
	//
	// Settle reads every file of the layer. Idempotent; it does nothing to a
	// sealed layer. The layer must not be mounted writable: Settle returns
	// ErrBusy then.
	Settle(ctx context.Context, id ID) error
}

// A WriterFinder is a Driver that can find out whether a process could still
// write to a layer that is about to be sealed. Without this interface a caller
// knows only the mounts of its own mount namespace.
type WriterFinder interface {
	// NoWriters makes sure that no process can write to a writable layer
	// through a mount in another mount namespace, where Seal does not look: it
	// makes such mounts read-only.
	//
	// It returns an error that matches ErrBusy when a process uses such a mount
	// as its root directory, or has a file in it open for writing, also through
	// a mount that was lazily unmounted. The error names the processes that the
	// driver could find. NoWriters waits a moment for processes that are about
	// to end. The package comment of each driver says which writers it cannot
	// see.
	NoWriters(ctx context.Context, id ID) error
	// SeesUnmounted reports whether NoWriters also finds files that are open
	// through a lazily unmounted mount.
	SeesUnmounted() bool
}

// An Explainer is a Driver that can tell which layer provides a path. Without
// this interface that is not known. Properties.Explain says whether a driver
// has it.
type Explainer interface {
	// Provider returns the layer that provides path in the merged tree of id:
	// id itself or one of its parents. For a directory it returns the uppermost
	// layer that contains the directory. Path has the form of [diff.Change]
	// Path, for example "etc/passwd". Provider returns an error that matches
	// io/fs.ErrNotExist for a path that the merged tree does not have.
	Provider(ctx context.Context, id ID, path string) (ID, error)
}

// A Trimmer is a Driver that caches files which it can make again, for example
// aufs layers translated to overlay. Without this interface there is no such
// cache.
type Trimmer interface {
	// Trim deletes cached files that were made for mounts and that no mount
	// uses any more. The driver makes them again for the next mount.
	// Idempotent. It may run at the same time as any other call on this driver.
	Trim(ctx context.Context) error
}

// An Adopter is a Driver whose store directory may contain foreign layers:
// layers that another engine made there. Without this interface every layer is
// the driver's own.
type Adopter interface {
	// Foreign returns the foreign layers, parents before their children. For
	// all other methods they are sealed layers, except that Layers leaves them
	// out and that Cleanup never touches them. Remove removes them.
	Foreign(ctx context.Context) ([]Foreign, error)
}

// A Placer is a Driver that has one name for each layer in one directory, its
// place. While the times of that directory stay the same, no layer has appeared
// or disappeared. So a caller that has once checked all layers need not check
// them again when it opens the store the next time. Without this interface the
// caller lists the layers each time.
type Placer interface {
	// Place returns the path of the directory. A name appears in it or
	// disappears from it with every layer, and with everything that Cleanup
	// would delete.
	Place() string
	// Leftovers reports whether this process knows of something that Cleanup
	// would delete. It can be called after Close. It does not know what existed
	// before the driver was opened.
	Leftovers() bool
}

// A Rememberer is a Driver that probes the kernel and the file system when it
// is opened, and that accepts the result of an earlier probe. Without this
// interface callers leave Options.Known empty.
type Rememberer interface {
	// Found returns the result of the probe, for Options.Known the next time.
	// When the driver could not probe, it returns the Options.Known that it was
	// given, or nil when that is of no use on this kernel.
	Found() json.RawMessage
}

// A Recorder is a Driver that stores a record beside each layer, with a note of
// the caller in it. The snapshotter uses the note to restore its database.
// Without this interface nothing but the ID is known of a layer when the
// database is lost.
type Recorder interface {
	// Record returns what the driver has recorded of the layer.
	Record(ctx context.Context, id ID) (Record, error)

	// Note sets the note of the layer, which CreateOptions.Note has set before.
	// Note is JSON; nil removes it. For a sealed layer the note is on disk when
	// Note returns. For a writable layer Note keeps it in memory, and Seal of
	// the same Driver writes it: the note is lost when the driver is closed
	// before that. Note returns ErrUnsupported for a foreign layer.
	Note(ctx context.Context, id ID, note json.RawMessage) error

	// NoteNow is Note, but the note is on disk when it returns, whether the
	// layer is writable, sealed or a view. It also replaces a note that waits
	// for Seal.
	NoteNow(ctx context.Context, id ID, note json.RawMessage) error
}

// A Rerecorder is a [Recorder] that can write a lost record again. Without this
// interface a layer whose record is lost cannot be used any more.
type Rerecorder interface {
	// Rerecord writes the record that Create wrote for layer id, in place of a
	// record that is lost or damaged. The files of the layer must still exist;
	// they stay as they are, and a torn layer stays torn. Afterwards the layer
	// is writable, unless it is a view: call Seal if it was sealed. The record
	// is durable when Rerecord returns. Idempotent.
	//
	// Rerecord returns ErrNotFound when the files of the layer or a parent are
	// missing, ErrNotSealed for a parent that is not sealed, ErrBusy for a
	// layer that is mounted writable, and ErrUnsupported for a detached layer.
	Rerecord(ctx context.Context, id ID, parents []ID, opts CreateOptions) error
}

// A HintKeeper is a Driver that stores hints beside a layer. For example, vfs
// stores a manifest of the files that it copied unchanged from the parent.
// Without this interface no hints are stored.
type HintKeeper interface {
	// CheckHints returns an error when the hints of the layer are missing or
	// damaged. It returns nil for sound hints, and for a layer that needs none.
	// It does not compare the hints with the files of the layer.
	CheckHints(ctx context.Context, id ID) error
	// RenewHints writes empty hints in place of hints that are missing or
	// damaged. With empty hints every comparison reads everything. Sound hints
	// stay. The new hints are durable when RenewHints returns. Idempotent.
	RenewHints(ctx context.Context, id ID) error
}

// A Replacer is a Driver that can put a new layer in the position of a damaged
// one, under the same ID and below the children that it has. Without this
// interface a damaged layer stays until it is removed.
type Replacer interface {
	// Replace puts the sealed layer made in the position of layer id. The layer
	// id may be damaged in any way, or missing. The caller has made the layer
	// made with the parents that id should have. Afterwards id is what made
	// was, also for its children, and made does not exist any more. The
	// exchange is one durable step: after a crash id is the old layer or the
	// new one.
	//
	// Existing mounts keep the files of the old layer. Cleanup deletes these
	// files when no mount uses them, in any mount namespace that this process
	// can see. Without Properties.SharesPages a child is a copy of its parent,
	// so nothing changes in existing children.
	//
	// Replace returns ErrNotFound when made does not exist, ErrNotSealed when
	// it is not sealed, and ErrUnsupported when the file system cannot exchange
	// two directories. It returns ErrBusy when id is mounted writable, when
	// something is mounted inside the directory of id, and with some drivers
	// when any mount uses id. After these errors id is as before, and the
	// caller removes made with Remove.
	Replace(ctx context.Context, id, made ID) error
}

// A Borrower is a Driver whose layers can have sealed layers of another store
// as parents. The other store belongs to the same backend and is only read.
// Without this interface the caller has to apply those layers here.
type Borrower interface {
	// Borrow makes the layers of another store available: the sealed layer "N"
	// in the directory dir of the other store is the layer "PREFIX.N" here,
	// until this Driver is closed. Borrow is called before the other methods.
	//
	// Prefix is a valid [ID] without a dot. Dir is what [Placer].Place of the
	// other store returns, and found is what [Rememberer].Found of the other
	// store returned.
	//
	// Methods that only read treat a borrowed layer as a sealed layer. They
	// return ErrNotFound when dir or the layer no longer exists. Layers leaves
	// borrowed layers out. Methods that would change a borrowed layer return
	// ErrReadOnly: the driver never writes below dir. The content of dir may be
	// hostile: the driver trusts no path in it and follows no symbolic link.
	//
	// Borrow returns ErrUnsupported when the layers would have another meaning
	// here, for example because the other store marks whiteouts with other
	// attributes, and when found does not tell.
	Borrow(prefix, dir string, found json.RawMessage) error
}

// A Record is what a driver has recorded of a layer.
type Record struct {
	// Parents is the complete list, nearest first.
	Parents []ID
	// View: the layer is a view.
	View bool
	// Sealed: the layer is sealed.
	Sealed bool
	// Torn: the layer can only be removed, see ErrTorn.
	Torn bool
	// Foreign: another engine made the layer, so this record was put together
	// from the files of that engine. A layer of our own whose record is
	// completely lost can look the same.
	Foreign bool
	// Note is the note of the caller, nil for none.
	Note json.RawMessage
}

// Foreign is a layer that another engine made.
type Foreign struct {
	ID ID
	// Parents is the complete list, nearest first.
	Parents []ID
}
