package driver

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/mount"
)

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
	// What they write is on disk after Seal, or after the next Mount without
	// Volatile that finds the layer unmounted, and not before. If the machine
	// stops before, in whatever way, the layer is torn and can only be removed
	// (ErrTorn). So a caller whose mount fails calls Mount without Volatile.
	// Ignored without Properties.Volatile.
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
