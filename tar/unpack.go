package tar

import (
	"context"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// UnpackOptions tune [Unpack]. The zero value unpacks a layer without parents
// into a plain tree.
type UnpackOptions struct {
	// Parents is the merged tree that the layer will be merged into; nil when
	// there is none. Unpack only reads it, and only where the layer does not
	// say enough: for directories without an entry, and for targets of hard
	// links that the layer does not contain.
	Parents diff.View
	// Detached unpacks a layer whose parents are not known yet. Parents must be
	// nil. Unpack assumes that every ancestor without an entry is a directory;
	// [Delta.Merge] verifies this. A hard link to a file that the layer does
	// not contain gives [ErrNeedsParents].
	Detached bool
	// DiffID, when set, is the digest that the uncompressed stream must have.
	DiffID digest.Digest
	// Limits bound what the stream may demand.
	Limits Limits
	// Warn is called for each entry that Unpack skipped or understood
	// differently. May be nil. One goroutine at a time calls it.
	Warn func(path, message string)
	// Encoding says how the tree will be stored on disk, which decides the
	// names of extended attributes. Give the same encoding to Merge.
	Encoding whiteout.Encoding
	// NoEscape returns [ErrOwnXattr] for extended attributes of the encoding's
	// own namespace. Without it they are stored escaped, which overlay shows
	// from Linux 6.7 on.
	NoEscape bool
	// MaxName is the longest file name that the layer may have, in bytes; 0
	// means 255. A longer name gives [ErrLongName]. Whiteouts of longer names
	// are allowed.
	MaxName int
	// Writers is the number of files to write at the same time; 0 chooses one.
	Writers int
	// UserNS says that this process is not root of the initial user namespace.
	// Unpack then skips devices with a warning.
	UserNS bool
	// NoFchmodat2 avoids that system call, as on a kernel before 6.6.
	NoFchmodat2 bool
	// NoOpenat2 has no effect: Unpack never gives a path of a layer to the
	// kernel.
	NoOpenat2 bool

	// forgetful, for tests, makes the unpacker forget nodes whenever it can, and
	// not only when they take much memory.
	forgetful bool
}

// Applied says what [Unpack] read.
type Applied struct {
	// DiffID is the digest of the uncompressed stream, including bytes after
	// the end of the archive.
	DiffID digest.Digest
	// Bytes is the length of the uncompressed stream.
	Bytes int64
	// Entries is the number of entries, including whiteouts.
	Entries int64
}

// Unpack reads a layer tar to its end and makes its entries in the empty
// directory staging. The tar may be compressed, see [NewDecompressor]. staging
// must be on the file system of the tree that the layer will be merged into.
// Unpack also reads opts.Parents, and writes nowhere else.
//
// Unpack returns:
//
//   - an error that matches [diff.ErrInvalidLayer] for a stream that cannot be
//     applied, with the name of the entry and its offset in the uncompressed
//     stream;
//   - [ErrDigest] when the stream does not have the digest opts.DiffID;
//   - [ErrNeedsParents], only with opts.Detached;
//   - [ErrLongName], [ErrOwnXattr], [ErrLargeXattr] or [ErrUnmappedID] for a
//     valid layer that cannot be stored here;
//   - the error of the context, and the error of the reader;
//   - an *os.PathError for trouble on this machine, such as a full disk.
//
// After an error delete the staging directory. When the context has ended, a
// Read of layer may still be running.
func Unpack(ctx context.Context, staging *os.File, layer io.Reader, opts UnpackOptions) (*Delta, Applied, error) {
	return unpack(ctx, staging, layer, opts)
}
