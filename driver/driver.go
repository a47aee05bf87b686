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

// ID names a layer within a driver. It is a plain file name of [A-Za-z0-9_.-],
// not starting with a dot, at most 128 bytes; see [ID.Validate].
type ID string

// Driver keeps layers on disk. See the package comment for the vocabulary.
//
// Every method that takes an ID returns [ErrNotFound] when there is no such
// layer, unless it says otherwise, and [ErrInvalidID] for an ID that is none.
type Driver interface {
	// Name is the backend's name, "overlay2" for instance. It is recorded in
	// the store.
	Name() string

	// Properties returns facts that do not change while the driver is open.
	Properties() Properties

	// Create makes a writable layer over sealed parents, nearest first; without
	// parents it is empty, its root root:root 0755 with mtime 0. Not idempotent.
	//
	// Returns ErrExists when the ID is taken, ErrNotFound when a parent is
	// missing and ErrNotSealed when one is not sealed. After any error nothing
	// of the layer is left on disk.
	Create(ctx context.Context, id ID, parents []ID, opts CreateOptions) error

	// Mount says how to mount the view of the layer. It changes nothing of what
	// the layer holds and may be called at any time and any number of times; the
	// same layer gives the same mounts. A sealed layer, and one created with View, gives
	// read-only mounts.
	Mount(ctx context.Context, id ID, opts MountOptions) ([]mount.Mount, error)

	// ApplyDiff unpacks a layer tar, plain or compressed with gzip or zstd, over
	// what the writable layer's view shows, without mounting anything. The
	// layer must not be mounted. It reads the stream to its end.
	//
	// Returns ErrBusy for a layer that is mounted, or that somebody can write to in
	// another mount namespace; mere copies of its mount there become read-only.
	// Returns ErrSealed for a sealed layer or a view, ErrInvalidLayer for a
	// stream that cannot be applied, ErrUnsupported for a name over
	// Properties.MaxName, ErrDigest when opts.DiffID is given and differs, and
	// ErrNeedsParents only with opts.Detached. After any error but
	// ErrTorn the layer is as before. Where the process was killed in the middle
	// of changing the layer, this and Seal return ErrTorn from then on; so they do
	// for every layer that was not sealed when the disk failed a write.
	ApplyDiff(ctx context.Context, id ID, layer io.Reader, opts ApplyOptions) (Applied, error)

	// Sides opens the two trees whose difference the layer is: that of its parents, nil for a
	// layer without any, and its own. Both are nil for a view. Directories of the second may
	// know where the two can differ, see [diff.Hinter]. Works on writable and sealed layers,
	// without mounting them. The caller closes both. [Diff] and [Changes] are made of it.
	Sides(ctx context.Context, id ID) (parents, layer diff.View, err error)

	// View opens the merged tree of the layer for reading, without mounting it.
	// The caller closes it.
	View(ctx context.Context, id ID) (diff.View, error)

	// Seal makes the layer immutable and durable: once it returns, the layer
	// survives a power cut whole. Idempotent. The layer must not be mounted
	// writable. Returns ErrUnsupported for a view and ErrTooManyLayers for a layer with
	// Properties.MaxParents parents, which stays writable.
	Seal(ctx context.Context, id ID) error

	// Remove removes the layer: at once and atomically to the caller, though
	// the disk space may be freed later, see Cleanup. Idempotent: a missing
	// layer is no error. The caller must know that no other layer has it as a
	// parent and that it is not mounted; a mounted layer may give ErrBusy.
	Remove(ctx context.Context, id ID) error

	// Usage returns what this layer alone takes, parents not counted. O(1) once
	// sealed.
	Usage(ctx context.Context, id ID) (Usage, error)

	// Layers lists the layers on disk in no particular order.
	Layers(ctx context.Context) ([]ID, error)

	// Cleanup frees what Remove put aside and what interrupted calls left
	// behind. Idempotent, and safe beside other calls of this driver.
	Cleanup(ctx context.Context) error

	// Close waits for background work and releases the driver. Mounts stay.
	Close() error
}

// A Rebaser is a Driver whose layers can be given their parents after they were
// unpacked, so that the layers of an image can be unpacked side by side.
// Default without it: the parents are fixed at Create. Properties.Rebase tells.
type Rebaser interface {
	// Rebase makes sealed parents, nearest first, the parents of a writable
	// layer that was created without any and filled by exactly one ApplyDiff
	// with Detached. The result is the same as if the layer had been created
	// over the parents and the same stream applied to it. Idempotent: a layer
	// that has these very parents already stays as it is.
	//
	// A layer that another program has filled through its mount, or see [Settler],
	// is put on the parents as it is, but for directories that nobody has described,
	// as far as that can be told: they take the attributes that the parents give them.
	//
	// Returns ErrNeedsParents when only a second reading of the stream can give
	// that result: remove the layer, create it over its parents and apply again.
	// So it does from then on when it was interrupted, or the disk failed, in the
	// middle. After any other error the layer is as it was.
	Rebase(ctx context.Context, id ID, parents []ID) error
}

// A Settler is a Driver whose writable layers other programs may fill without the
// mount: engines that unpack a layer themselves write to the upper directory of an
// overlay. Default without it: what they do through a mount is as it should be.
type Settler interface {
	// Settle makes a writable layer that was filled so what it would be if its
	// mount had been used: attributes that would be the union's own there, and are
	// the layer's, are kept as such, and marks that would show as files go. It looks
	// at every file of the layer. Idempotent, also for one that is sealed. The layer
	// must not be mounted writable.
	Settle(ctx context.Context, id ID) error
}

// A WriterFinder is a Driver that can tell whether a layer that is about to be sealed
// could be written to afterwards. Default without it: only mounts in this mount namespace
// are known.
type WriterFinder interface {
	// NoWriters sees to it that nobody can write to a writable layer where Seal does not see
	// it: copies of its mounts in other mount namespaces become read-only. It returns an
	// error matching ErrBusy, which names processes as far as they are known, when one uses
	// such a mount as its root directory or has a file open for writing, also through a
	// mount that was lazily unmounted. It waits a moment for processes that are ending.
	// What it cannot see is said in the package documentation of each driver.
	NoWriters(ctx context.Context, id ID) error
	// SeesUnmounted reports whether NoWriters also sees files that are open through a
	// mount that was lazily unmounted.
	SeesUnmounted() bool
}

// An Explainer is a Driver that can tell which layer provides a path. Default
// without it: not known. Properties.Explain tells.
type Explainer interface {
	// Provider returns the layer, id itself or one of its parents, that the
	// non-directory or the uppermost part of the directory at path comes from.
	// Path is as in diff.Change. Returns an error matching io/fs.ErrNotExist for
	// a path that the view does not show.
	Provider(ctx context.Context, id ID, path string) (ID, error)
}

// A Trimmer is a Driver that keeps what it could make again. Default without it:
// there is nothing of the kind.
type Trimmer interface {
	// Trim frees what was made for the sake of mounts that are gone, and would be
	// made again for the next ones. Idempotent, and safe beside other calls of
	// this driver.
	Trim(ctx context.Context) error
}

// An Adopter is a Driver whose store may hold layers that another engine has
// left there. Default without it: every layer is the driver's own.
type Adopter interface {
	// Foreign lists the layers that another engine made, parents before their
	// children. To the other methods they are sealed layers; Layers does not list
	// them and Cleanup leaves them alone, Remove removes them.
	Foreign(ctx context.Context) ([]Foreign, error)
}

// A Placer is a Driver that keeps all its layers in one directory. So whoever has seen
// that a store is in order need not look at every layer the next time: as long as the
// directory has the times that it had, no layer has appeared or gone. Default without it:
// that has to be looked for.
type Placer interface {
	// Place returns the directory, in which a name appears or goes with every layer, and
	// with all that Cleanup would free.
	Place() string
	// Leftovers reports whether there is something for Cleanup that this process knows
	// of, also after Close. What was there when the driver was opened it does not know.
	Leftovers() bool
}

// A Rememberer is a Driver that tries when it is opened what works here, and that can
// go by what it found before. Default without it: the driver is opened without
// Options.Known.
type Rememberer interface {
	// Found returns what opening found out, for Options.Known; nil when nothing could
	// be tried and nothing was known.
	Found() json.RawMessage
}

// A Recorder is a Driver that keeps a record beside each layer, in which there is room
// for something of the caller's. Default without it: nothing but the ID is known of a
// layer when the caller has lost what it knew.
type Recorder interface {
	// Record returns what the driver has recorded of the layer.
	Record(ctx context.Context, id ID) (Record, error)

	// Note puts note, which is JSON, in the place of CreateOptions.Note: at once and
	// durably where the layer is sealed, else when it is sealed by this Driver.
	// Returns ErrUnsupported for a layer that another engine made.
	Note(ctx context.Context, id ID, note json.RawMessage) error

	// NoteNow is Note, at once and durably in every state of the layer.
	NoteNow(ctx context.Context, id ID, note json.RawMessage) error
}

// A Rerecorder is a [Recorder] that can write the record of a layer anew. Default without it: a
// layer whose record is lost cannot be used any more.
type Rerecorder interface {
	// Rerecord gives the layer id, whose files are there, the record that Create would have
	// given it, in the place of one that is lost or damaged. The files stay as they are, and so
	// does that they are torn. The layer is writable then, unless it is a view, until Seal
	// makes it immutable again. It is durable.
	//
	// Returns ErrNotFound without the layer's files or without a parent, ErrNotSealed for a
	// parent that is not sealed, ErrBusy for a layer that is mounted writable, and
	// ErrUnsupported for one that was unpacked without its parents.
	Rerecord(ctx context.Context, id ID, parents []ID, opts CreateOptions) error
}

// A HintKeeper is a Driver that keeps something beside a layer which only saves time: what
// was copied unchanged, for instance. Default without it: there is nothing of the kind.
type HintKeeper interface {
	// CheckHints returns what is wrong with it, nil where nothing is or where the layer has
	// none. It does not compare it with the files of the layer.
	CheckHints(ctx context.Context, id ID) error
	// RenewHints puts one that knows nothing in the place of what is lost or damaged,
	// durably. What is sound stays.
	RenewHints(ctx context.Context, id ID) error
}

// A Replacer is a Driver that can put one layer in the place of another, so that a
// damaged one can be made anew under the children that it has. Default without it: a
// damaged layer stays until it is removed.
type Replacer interface {
	// Replace puts the sealed layer made, which has the parents that id should have, in
	// the place of id, which may be damaged in any way or missing: from then on id is
	// what made was, for its children too, and there is no layer made any more. That is
	// one step, and durable: after a crash id is the old layer or the new one.
	//
	// What is mounted stays as it is, with the files of the old layer. Cleanup deletes
	// these once no mount that this process can see, in whatever mount namespace, has
	// them. Where layers do not share pages (Properties.SharesPages), a child is a copy of
	// its parent: nothing changes in it.
	//
	// Returns ErrNotFound without made, ErrNotSealed for one that is not sealed, ErrBusy
	// when id is mounted writable or something is mounted in its directory, with some
	// drivers also when anything that has id is mounted, and
	// ErrUnsupported where the file system cannot exchange two directories. After these
	// id is as before, and Remove removes made.
	Replace(ctx context.Context, id, made ID) error
}

// A Borrower is a Driver whose layers can stand on sealed ones of another store of the
// same driver, which is only read. Default without it: such a layer has to be applied here.
type Borrower interface {
	// Borrow makes the layers known that another store keeps in dir: the sealed layer N
	// there is the layer PREFIX.N here, until this Driver is closed. prefix is one of an
	// ID, without a dot. To the methods that read, such a layer is a sealed one, and
	// ErrNotFound once dir or the layer has gone; Layers does not list it. The methods
	// that would change it return ErrReadOnly, and nothing below dir is ever written.
	// What is in dir may be hostile: no path in it is believed, and no link followed.
	//
	// found is what [Rememberer].Found said there. Returns ErrUnsupported where layers of
	// there would mean something else here, or where found does not tell. Called before
	// the other methods.
	Borrow(prefix, dir string, found json.RawMessage) error
}

// A Record is what a driver has recorded of a layer.
type Record struct {
	// Parents, nearest first.
	Parents []ID
	// View: the layer only shows its parents.
	View bool
	// Sealed: it does not change any more.
	Sealed bool
	// Torn: it can only be removed, see ErrTorn.
	Torn bool
	// Foreign: another engine made it, so there is no record but this. One of ours whose
	// record is lost altogether can look like that.
	Foreign bool
	// Note is the caller's.
	Note json.RawMessage
}

// Foreign is a layer that another engine made.
type Foreign struct {
	ID ID
	// Parents, nearest first.
	Parents []ID
}

// Options are what every backend's constructor takes.
type Options struct {
	// Logger receives warnings; nil discards them.
	Logger *slog.Logger
	// Metacopy lets overlay2 copy up attributes without the body (chmod, chown
	// of a file of the parents). Off by default: such a layer is worth nothing
	// without the parents it was made on. Ignored by other backends.
	Metacopy bool
	// Existing: the store was made by this driver before. It is opened then, for reading
	// and removing at least, also where nothing can be tried because the disk is full.
	Existing bool
	// Known is what [Rememberer].Found said on this kernel, to go by when nothing can be
	// tried; nil for nothing.
	Known json.RawMessage
	// ReadOnly opens a store for reading alone: the driver writes nothing below its
	// root, not even a time. It makes no directories, tries only what it can try
	// elsewhere, and goes by Known for the rest. The store exists, and stays as it is
	// while it is open. Methods that change something return ErrReadOnly, and all mounts
	// are read-only. Mount may return ErrReadOnly too: aufs has to translate a layer
	// first where the kernel lacks aufs.
	ReadOnly bool
	// Limits bound every layer that is applied, where ApplyOptions say nothing else.
	Limits Limits
	// Fallbacks forces the slower way where there is a faster one, for tests.
	Fallbacks Fallbacks
}

// Fallbacks switches fast paths off. The zero value uses all that work here.
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
	// View makes a read-only layer that only shows its parents: it cannot be
	// applied to or sealed. It needs at least one parent.
	View bool
	// Size limits what the layer may take on disk beside its parents, in bytes; 0
	// for no limit. A writer then gets EDQUOT or ENOSPC. Returns ErrUnsupported
	// without Properties.Quota. It may switch quotas on for the file system.
	Size int64
	// IDMap, when set, maps the owners of files in the mounts of this layer, not in
	// what it holds: once sealed, and to Diff, Changes and View at all times, files
	// belong to the container's IDs. Nothing can be applied to such a layer
	// where that takes a conversion (ErrUnsupported). Returns ErrUnsupported
	// without Properties.Idmap.
	IDMap *mount.IDMap
	// Note is JSON that is kept with the layer, nil for nothing. Ignored by a driver
	// that is no [Recorder].
	Note json.RawMessage
}

// MountOptions tune [Driver.Mount].
type MountOptions struct {
	// ReadOnly asks for a read-only mount of a writable layer.
	ReadOnly bool
	// Volatile asks for a mount that skips syncs: what is written through it is on disk
	// when the layer is sealed, and not before. A layer that was not sealed when the
	// machine stopped, however it did, can only be removed then (ErrTorn). Ignored
	// without Properties.Volatile.
	Volatile bool
}

// Limits bound what a layer may ask for. A zero field means its default. The package
// limits has them as text.
type Limits struct {
	Entries   int64 // entries in the stream, and directories that their paths imply; default 10,000,000
	Bytes     int64 // bytes of the uncompressed stream, and of all bodies with their holes; default 1 TiB
	Ratio     int64 // uncompressed bytes for each compressed byte, checked past 64 MiB; default none
	PathDepth int   // components of a path after cleaning; default 1,000,000, more than a path can have
	PAXBytes  int64 // bytes of one extended header; default 1 MiB (the reader's own ceiling)
	Memory    int64 // bytes of memory for what has to be known of all entries; default 256 MiB
}

// Or returns the limits with those of other where l has none.
func (l Limits) Or(other Limits) Limits {
	return Limits{
		Entries: cmp.Or(l.Entries, other.Entries), Bytes: cmp.Or(l.Bytes, other.Bytes), Ratio: cmp.Or(l.Ratio, other.Ratio),
		PathDepth: cmp.Or(l.PathDepth, other.PathDepth), PAXBytes: cmp.Or(l.PAXBytes, other.PAXBytes), Memory: cmp.Or(l.Memory, other.Memory),
	}
}

// ApplyOptions tune [Driver.ApplyDiff].
type ApplyOptions struct {
	// DiffID, when set, is the digest the uncompressed stream must have.
	DiffID digest.Digest
	// Detached unpacks a layer whose parents are not known yet, for Rebase.
	// Only for an empty layer created without parents.
	Detached bool
	// Sync puts the layer on disk before ApplyDiff returns. Without it a power
	// cut before Seal leaves any part of what was applied, as it does of what is
	// written through a mount. Not for Detached, which Rebase and Seal complete.
	Sync bool
	// Limits bound the layer; where they say nothing, those of [Options] do.
	Limits Limits
	// Fresh says that nobody has ever mounted the layer, as where it was made to be
	// unpacked to. Then other mount namespaces are not looked through, which takes time
	// for each process of the machine.
	Fresh bool
	// Warn is told of what was skipped or reinterpreted, or what the file system cannot
	// hold; nil logs it.
	Warn func(path, message string)
}

// Applied says what [Driver.ApplyDiff] read.
type Applied struct {
	// DiffID is the digest of the uncompressed stream, trailing bytes included.
	DiffID digest.Digest
	// Bytes is the length of the uncompressed stream.
	Bytes int64
	// Entries is the number of entries, whiteouts included.
	Entries int64
}

// DiffOptions tune [Diff].
type DiffOptions struct {
	// MaxTime, when not zero, is the latest mtime written; later ones are replaced
	// by it.
	MaxTime time.Time
	// Warn is told of what a layer cannot hold; may be nil.
	Warn func(path, message string)
}

// Usage is what a layer takes on disk.
type Usage struct {
	// Bytes allocated on disk (st_blocks * 512); a hard link counts once.
	Bytes int64
	// Inodes in use.
	Inodes int64
}

// Properties are the facts on which callers and tests decide; they never ask
// for a driver's name.
type Properties struct {
	// Rebase: the driver is a Rebaser, and its layers unpack in parallel.
	Rebase bool
	// Explain: the driver is an Explainer.
	Explain bool
	// NativeDiff: diff costs what changed, not what the parents hold.
	NativeDiff bool
	// SharesPages: containers over the same layer share its page cache.
	SharesPages bool
	// Reflink: copies share blocks until written.
	Reflink bool
	// BreaksHardlinks: writing to a file of the parents that has several names
	// gives that name an inode of its own (copy-up).
	BreaksHardlinks bool
	// RenameDir: rename(2) of a directory of the parents works in a view.
	RenameDir bool
	// MountsWritable: writable layers can be mounted here. Without it Mount of
	// one returns ErrUnsupported, while sealed layers and views can be mounted.
	MountsWritable bool
	// Quota: a size limit can be set on a layer, see CreateOptions.Size.
	Quota bool
	// Idmap: layers can be mounted with mapped IDs, see CreateOptions.IDMap.
	Idmap bool
	// Rootless: works in a user namespace.
	Rootless bool
	// MountWay is how overlays are mounted here; zero for a backend that mounts
	// none.
	MountWay mount.Way
	// MountTimes is how exactly a writable mount keeps a modification time that a
	// program sets: such times are cut to multiples of it. 0 means that the file
	// system decides. Layers that are applied keep theirs.
	MountTimes time.Duration
	// Volatile: MountOptions.Volatile makes a difference.
	Volatile bool
	// KeepsXattrs: an extended attribute that is removed through a writable mount
	// stays, without a value, and one without a value is lost when its file is
	// copied up.
	KeepsXattrs bool
	// MaxName is the longest name of a file, in bytes; 0 means that the file system decides.
	MaxName int
	// MaxParents is the longest chain of parents. Create returns ErrTooManyLayers for a longer
	// one, and Seal for a layer that has so many: nothing could stand on it, and where a
	// mount takes no more it could not be mounted itself. 0 means no limit.
	MaxParents int
	// RefusedXattr is the prefix of attributes that a layer cannot have here,
	// empty for none: "trusted.overlay." where the kernel's overlay cannot show
	// them (before Linux 6.7). ApplyDiff returns ErrUnsupported for such a layer.
	RefusedXattr string
	// XattrNamespaces are the prefixes this driver can store, "user." say.
	XattrNamespaces []string
}
