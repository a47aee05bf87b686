package driver

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/mount"
)

// ID names a layer within one driver, for example "17". An ID is 1 to 128 bytes
// of [A-Za-z0-9_.-] and does not start with a dot; see [ID.Validate]. A driver
// may use it as a file name.
type ID string

// Driver stores layers in one store directory. The package comment has the
// glossary, the life cycle, and the rules that hold for every method: when
// methods return [ErrNotFound] and [ErrInvalidID], concurrency, and
// cancellation.
type Driver interface {
	// Name returns the name of the backend, for example "overlay2". The
	// snapshotter records it in the store, so it must never change.
	Name() string

	// Properties returns facts that do not change while the driver is open.
	Properties() Properties

	// Create makes a writable layer over sealed parents, or a view with
	// opts.View. Parents is the complete list, nearest first. Without parents
	// the layer is an empty directory that belongs to root:root, with mode 0755
	// and mtime 0. Not idempotent.
	//
	// Create returns ErrExists when the ID is taken, ErrNotFound when a parent
	// is missing, ErrNotSealed when a parent is not sealed, ErrTooManyLayers
	// for more than Properties.MaxParents parents, and an error for a view
	// without parents. CreateOptions says when it returns ErrUnsupported. After
	// any error nothing of the layer is left on disk.
	Create(ctx context.Context, id ID, parents []ID, opts CreateOptions) error

	// Mount returns how to mount the merged tree of the layer: a list of mount
	// values that [mount.All] mounts one over the other on one target. Mount
	// itself mounts nothing.
	//
	// Mount never changes what the layer contains. The caller may call it at
	// any time and any number of times: the same layer and options give the
	// same list. Sealed layers and views get read-only mounts. Mount returns
	// ErrUnsupported for a writable layer without Properties.MountsWritable.
	Mount(ctx context.Context, id ID, opts MountOptions) ([]mount.Mount, error)

	// ApplyDiff unpacks a layer tar over the merged tree of a writable layer.
	// The tar is uncompressed, or compressed in a way that
	// [tar.NewDecompressor] knows: gzip, zstd, xz or bzip2. ApplyDiff reads it
	// to its end and mounts nothing. A second call applies a second tar over
	// the result of the first. Not idempotent.
	//
	// The layer must not be mounted. Copies of its mount in other mount
	// namespaces become read-only.
	//
	// ApplyDiff returns:
	//
	//   - ErrBusy for a layer that is mounted here, or that a process can write
	//     to in another mount namespace.
	//   - ErrSealed for a sealed layer and for a view.
	//   - ErrInvalidLayer for a stream that cannot be applied.
	//   - ErrUnsupported for a name over Properties.MaxName, for an attribute
	//     of Properties.RefusedXattr, and for opts.Detached without
	//     Properties.Rebase.
	//   - ErrDigest when opts.DiffID is set and the stream has another digest.
	//   - ErrNeedsParents only with opts.Detached.
	//   - ErrTorn for a torn layer.
	//
	// After any error but ErrTorn the layer is as it was before the call.
	//
	// A layer becomes torn when the process is killed during the merge, the
	// last step of ApplyDiff. Every layer that is not sealed becomes torn when
	// the disk fails a write. From then on ApplyDiff and Seal return ErrTorn
	// for it.
	ApplyDiff(ctx context.Context, id ID, layer io.Reader, opts ApplyOptions) (Applied, error)

	// Sides opens the two trees whose difference is the layer: the merged tree
	// of its parents, and its own merged tree. [Changes] and [Diff] compare
	// them.
	//
	// The first is nil for a layer without parents. Both are nil for a view.
	// Directories of the second may implement [diff.Hinter] and so tell where
	// the two trees can differ. Sides works on writable and sealed layers and
	// mounts nothing. The caller closes both.
	Sides(ctx context.Context, id ID) (parents, layer diff.View, err error)

	// View opens the merged tree of the layer for reading, in user space: it
	// mounts nothing and needs no privilege to mount. It works on every layer
	// that is not detached. The caller closes the result.
	View(ctx context.Context, id ID) (diff.View, error)

	// Seal makes the layer immutable and durable: when it returns nil, the
	// whole layer survives a power cut. Idempotent. The layer must not be
	// mounted writable: Seal returns ErrBusy then.
	//
	// Seal returns ErrUnsupported for a view, ErrTorn for a torn layer, and
	// ErrTooManyLayers for a layer with Properties.MaxParents parents, which
	// stays writable.
	Seal(ctx context.Context, id ID) error

	// Remove removes the layer. For the caller this happens at once and in one
	// step: the ID is free when Remove returns. The driver may free the disk
	// space later, see Cleanup. Idempotent: a missing layer is no error.
	//
	// The caller must know that no other layer has this one as a parent, and
	// that it is not mounted. Remove may return ErrBusy for a mounted layer.
	Remove(ctx context.Context, id ID) error

	// Usage returns what this layer alone takes on disk, without its parents.
	// It takes constant time for a sealed layer.
	Usage(ctx context.Context, id ID) (Usage, error)

	// Layers returns the IDs of all layers of the driver, in no particular
	// order. It leaves out foreign and borrowed layers.
	Layers(ctx context.Context) ([]ID, error)

	// Cleanup deletes trash, and what interrupted calls left behind.
	// Idempotent. It may run at the same time as any other call on this driver.
	Cleanup(ctx context.Context) error

	// Close waits for work in the background and releases the driver. Mounts
	// stay mounted.
	Close() error
}

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

// Options are the options of every backend's constructor.
type Options struct {
	// Logger receives warnings; nil discards them.
	Logger *slog.Logger
	// Metacopy lets overlay2 copy up the attributes of a file without its
	// content, for example at a chmod or chown of a file of a parent. Off by
	// default: such a layer is useless without the parents that it was made on.
	// Other backends ignore it.
	Metacopy bool
	// Existing: this driver made the store earlier. The driver then opens it at
	// least for reading and removing, even when it cannot probe because the
	// disk is full.
	Existing bool
	// Known is what [Rememberer].Found returned earlier on this kernel. The
	// driver uses it when it cannot probe. nil: nothing is known.
	Known json.RawMessage
	// ReadOnly opens an existing store for reading only. The driver writes
	// nothing below its store directory: no directory, no file, not even a
	// time. It probes only what it can probe elsewhere, and takes the rest from
	// Known. The store must not change while it is open.
	//
	// Methods that would change something return ErrReadOnly. All mounts are
	// read-only. Mount may return ErrReadOnly too: where the kernel lacks aufs,
	// the aufs backend has to translate a layer before it can be mounted.
	ReadOnly bool
	// Limits bound every layer tar that is applied. A field that is set in
	// ApplyOptions.Limits has priority.
	Limits Limits
	// Fallbacks switches faster methods off, for tests.
	Fallbacks Fallbacks
}

// Fallbacks switches faster methods off, one each. The zero value uses every
// method that works here.
type Fallbacks struct {
	NoOpenat2     bool      // resolve paths component by component
	MountWay      mount.Way // the first way of mounting that is tried; zero tries all
	NoReflink     bool      // no FICLONE
	NoCopyRange   bool      // no copy_file_range(2)
	UserXattr     bool      // overlay's user.overlay. namespace, as in a user namespace
	SingleThread  bool      // no parallel writers
	NoFchmodat2   bool      // chmod by /proc/self/fd
	NoXattrat     bool      // attributes by /proc/self/fd
	NoMetadataOpt bool      // redirect_dir=off and metacopy=off
	NoSimpleQuota bool      // qgroups instead of simple quotas
	NoEscape      bool      // overlay before Linux 6.7: no escaped attributes
	NoOverlay     bool      // aufs without the kernel's: one merged copy instead of translated layers
}

// CreateOptions tune [Driver.Create].
type CreateOptions struct {
	// View makes a view: a read-only layer that shows the merged tree of its
	// parents. It needs at least one parent. It cannot be applied to or sealed.
	View bool
	// Size limits what the layer may take on disk, in bytes, without its
	// parents; 0 for no limit. A process that writes more gets EDQUOT or
	// ENOSPC. Create returns ErrUnsupported for a size without
	// Properties.Quota. It may switch quotas on for the whole file system.
	Size int64
	// IDMap, when set, translates the owners of files in the mounts of this
	// layer. Only mounts show the IDs of the host. After Seal, and for Diff,
	// Changes and View at all times, files belong to the IDs of the container.
	// Create returns ErrUnsupported for a map without Properties.Idmap.
	// ApplyDiff returns ErrUnsupported for such a layer where the backend would
	// have to convert IDs.
	IDMap *mount.IDMap
	// Note is the note of the layer, as JSON; nil for none. A driver that is
	// not a [Recorder] ignores it.
	Note json.RawMessage
}

// MountOptions tune [Driver.Mount].
type MountOptions struct {
	// ReadOnly asks for a read-only mount of a writable layer.
	ReadOnly bool
	// Volatile asks for a mount that ignores sync calls of the programs in it.
	// What they write is on disk after Seal, and not before. If the machine
	// stops before Seal, in whatever way, the layer is torn and can only be
	// removed (ErrTorn). Ignored without Properties.Volatile.
	Volatile bool
}

// Limits bound what a layer tar may demand. A zero field means the default of
// that field. A stream that exceeds a limit gives ErrInvalidLayer.
type Limits struct {
	// Entries in the stream, plus directories that exist only because a path
	// needs them. Default 10,000,000.
	Entries int64
	// Bytes of the uncompressed stream, and of all file contents including
	// holes. Default 1 TiB.
	Bytes int64
	// Ratio of uncompressed bytes to one compressed byte, checked after the
	// first 64 MiB. Default: no limit.
	Ratio int64
	// PathDepth is the number of components in a cleaned path. Default
	// 1,000,000, which is more than a path can have.
	PathDepth int
	// PAXBytes is the size of one extended header, in bytes. Default 1 MiB,
	// which is also the most that the tar reader accepts.
	PAXBytes int64
	// Memory, in bytes, for what must be remembered of all entries. Default 256
	// MiB.
	Memory int64
}

// Or returns l with each zero field taken from other.
func (l Limits) Or(other Limits) Limits {
	return Limits{
		Entries: cmp.Or(l.Entries, other.Entries), Bytes: cmp.Or(l.Bytes, other.Bytes), Ratio: cmp.Or(l.Ratio, other.Ratio),
		PathDepth: cmp.Or(l.PathDepth, other.PathDepth), PAXBytes: cmp.Or(l.PAXBytes, other.PAXBytes), Memory: cmp.Or(l.Memory, other.Memory),
	}
}

// ApplyOptions tune [Driver.ApplyDiff].
type ApplyOptions struct {
	// DiffID, when set, is the digest that the uncompressed stream must have.
	// ApplyDiff returns ErrDigest for another one.
	DiffID digest.Digest
	// Detached unpacks the stream without knowledge of the parents, for a later
	// [Rebaser].Rebase. The layer must be empty and created without parents;
	// ApplyDiff returns an error otherwise. Until Rebase or Seal, the methods
	// that show or mount the layer, and a second ApplyDiff, may return
	// ErrUnsupported.
	Detached bool
	// Sync makes the layer durable before ApplyDiff returns. Without it, a
	// power cut before Seal can leave any part of the applied files, as it can
	// of files that are written through a mount. It has no effect with
	// Detached: Rebase and Seal make such a layer durable.
	Sync bool
	// Limits bound this stream. Each zero field is taken from Options.Limits.
	Limits Limits
	// Fresh promises that the layer has never been mounted, for example because
	// it was created just to be unpacked into. ApplyDiff then skips the search
	// through other mount namespaces, which takes time for each process of the
	// machine.
	Fresh bool
	// Warn is called for each entry that ApplyDiff skipped or understood
	// differently, and for what the file system cannot store. nil writes these
	// to the log.
	Warn func(path, message string)
}

// Applied says what [Driver.ApplyDiff] read.
type Applied struct {
	// DiffID is the digest of the uncompressed stream, including bytes after
	// the end of the archive.
	DiffID digest.Digest
	// Bytes is the length of the uncompressed stream.
	Bytes int64
	// Entries is the number of entries, including whiteouts.
	Entries int64
}

// DiffOptions tune [Diff].
type DiffOptions struct {
	// MaxTime, when not zero, is the latest mtime that Diff writes. It replaces
	// later times. SOURCE_DATE_EPOCH is a usual source.
	MaxTime time.Time
	// Warn is called for each file that a layer tar cannot contain; may be nil.
	Warn func(path, message string)
}

// Usage is what a layer takes on disk.
type Usage struct {
	// Bytes allocated on disk (st_blocks * 512). A file with several hard links
	// counts once.
	Bytes int64
	// Inodes that the layer uses.
	Inodes int64
}

// Properties are facts about a driver on this kernel and file system. Callers
// and tests decide by them, and never by the name of a driver.
type Properties struct {
	// Rebase: the driver is a [Rebaser], so layers can be unpacked at the same
	// time.
	Rebase bool
	// Explain: the driver is an [Explainer].
	Explain bool
	// NativeDiff: the cost of a diff depends on the size of the changes, not on
	// the size of the parents.
	NativeDiff bool
	// SharesPages: containers over the same layer share its files in the page
	// cache.
	SharesPages bool
	// Reflink: copies share blocks on disk until one is written.
	Reflink bool
	// BreaksHardlinks: a write to a file of a parent that has several names
	// gives the written name an inode of its own (copy-up). The other names
	// keep the old content.
	BreaksHardlinks bool
	// RenameDir: rename(2) of a directory of a parent works in a mount. Without
	// it rename(2) returns EXDEV.
	RenameDir bool
	// MountsWritable: writable layers can be mounted here. Without it Mount of
	// a writable layer returns ErrUnsupported; sealed layers and views can be
	// mounted.
	MountsWritable bool
	// Quota: a layer can have a size limit, see CreateOptions.Size.
	Quota bool
	// Idmap: a layer can be mounted with mapped IDs, see CreateOptions.IDMap.
	Idmap bool
	// Rootless: the driver works in a user namespace.
	Rootless bool
	// MountWay is the system interface that mounts overlays here; zero for a
	// backend that mounts no overlays.
	MountWay mount.Way
	// MountTimes is the precision of a modification time that a program sets
	// through a writable mount: the mount cuts the time to a multiple of it. 0
	// means that the file system decides. Times of applied layers are not cut.
	MountTimes time.Duration
	// Volatile: MountOptions.Volatile has an effect.
	Volatile bool
	// KeepsXattrs: an extended attribute that is removed through a writable
	// mount stays with an empty value, and an attribute with an empty value is
	// lost when its file is copied up.
	KeepsXattrs bool
	// MaxName is the longest file name, in bytes. 0 means that the file system
	// decides.
	MaxName int
	// MaxParents is the largest number of parents; 0 means no limit. Create
	// returns ErrTooManyLayers for more parents. Seal returns it for a layer
	// that has exactly this number: no layer could have it as a parent, and a
	// mount that takes no more layers could not show it.
	MaxParents int
	// RefusedXattr is the prefix of attributes that a layer cannot have here;
	// empty for none. It is "trusted.overlay." where the kernel's overlay
	// cannot show such attributes (before Linux 6.7). ApplyDiff returns
	// ErrUnsupported for a layer with such an attribute.
	RefusedXattr string
	// XattrNamespaces are the attribute prefixes that this driver can store,
	// each with its dot, for example "user.".
	XattrNamespaces []string
}
